import { expect } from "chai";
import { RpcError, Status } from "@sluice/core";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";
import type { Part } from "../session/simulation/service.js";

describe("a call that its caller ends", () => {
  it("may have run when its source of requests fails after it began", async () => {
    const { simulation, calls, usage } = await connectPair();
    async function* source() {
      yield part(0);
      await simulation.sleep(10);
      throw new Error("no more");
    }
    const failed = rejection(calls.clientStream(source()));
    await simulation.run();
    expect(await failed).to.include({ code: Status.CANCELLED, message: "no more", mayHaveRun: true });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("did not run when its first message cannot be encoded, and may have when a later one cannot", async () => {
    const { simulation, calls, usage } = await connectPair({ server: { limits: { maxMessageBytes: 1000 } } });
    const first = rejection(calls.unary(part(0, 1001)));
    const later = rejection(calls.clientStream([part(0), part(1, 1001)]));
    const broken = rejection(
      calls.unary({
        index: 0,
        get data(): Uint8Array {
          throw new RangeError("no data");
        },
      }),
    );
    await simulation.run();
    expect(await first).to.include({ code: Status.RESOURCE_EXHAUSTED, mayHaveRun: false });
    expect(await later).to.include({ code: Status.RESOURCE_EXHAUSTED, mayHaveRun: true });
    const message = "cannot encode the request of sim.Test/Unary: no data";
    expect(await broken).to.include({ code: Status.INTERNAL, message, mayHaveRun: false });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  for (const callback of ["onHeader", "onTrailer"] as const) {
    it(`fails with what ${callback} throws, and leaves the connection alone`, async () => {
      const { simulation, calls, usage } = await connectPair();
      const error = new RpcError(Status.ABORTED, "not like this");
      const options = {
        [callback]: () => {
          throw error;
        },
      };
      const failed = rejection(calls.unary(part(0), options));
      await simulation.run();
      expect(await failed).to.include({ code: Status.ABORTED, cause: error, mayHaveRun: true });
      const fine = calls.unary(part(7));
      await simulation.run();
      expect((await fine).index).to.equal(7);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  it("is refused with a signal that is none, and cancelled when one fails after it began", async () => {
    const { simulation, calls, usage } = await connectPair();
    const none = rejection(calls.unary(part(0), { signal: {} as AbortSignal }));
    const broken = new AbortController().signal;
    broken.addEventListener = () => {
      throw new Error("not today");
    };
    const failed = rejection(calls.unary(part(0), { signal: broken }));
    await simulation.run();
    expect(await none).to.include({ code: Status.INVALID_ARGUMENT, mayHaveRun: false });
    expect(await failed).to.include({ code: Status.INTERNAL, message: "not today", mayHaveRun: true });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("is cancelled by a signal that is aborted while its request is being encoded", async () => {
    const { simulation, calls, usage } = await connectPair({
      server: { implementation: { unary: () => new Promise(() => {}) } },
    });
    const controller = new AbortController();
    const request = {
      index: 1,
      get data() {
        controller.abort(new Error("enough"));
        return new Uint8Array(0);
      },
    };
    const failed = rejection(calls.unary(request, { signal: controller.signal }));
    await simulation.run();
    expect(await failed).to.include({ code: Status.CANCELLED, mayHaveRun: true });
    expect(usage()[0]).to.deep.equal(IDLE);
  });

  it("takes nothing else with it when a getter of its request has closed the channel, and then fails", async () => {
    const { simulation, client, calls, usage } = await connectPair({
      server: {
        implementation: {
          unary: async ({ index }) => {
            await simulation.sleep(100);
            return part(index);
          },
        },
      },
    });
    const under = calls.unary(part(7));
    await simulation.run(10);
    let closing: Promise<void> | undefined;
    const failed = rejection(
      calls.unary({
        index: 0,
        get data(): Uint8Array {
          closing = client.close();
          throw new RangeError("no data");
        },
      }),
    );
    await simulation.run();
    await failed;
    expect((await under).index).to.equal(7);
    await closing;
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("lets go of a signal that follows others", async () => {
    const { simulation, calls } = await connectPair();
    const lasting = new AbortController();
    const followers: WeakRef<AbortSignal>[] = [];
    for (let count = 0; count < 300; count++) {
      const signal = AbortSignal.any([lasting.signal, new AbortController().signal]);
      followers.push(new WeakRef(signal));
      const call = calls.unary(part(count), { signal });
      await simulation.run(1);
      await call;
    }
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc!();
    expect(followers.filter((follower) => follower.deref() !== undefined).length).to.be.below(100);
  });

  it("has the source of its requests clean up when that has ended the call while it ran", async () => {
    const { simulation, calls, usage } = await connectPair();
    for (const wait of [false, true]) {
      const controller = new AbortController();
      let cleaned = 0;
      function* requests(): Generator<Part> {
        try {
          yield part(0);
          controller.abort();
          yield part(1);
        } finally {
          cleaned++;
        }
      }
      const ended = rejection(calls.clientStream(requests(), { signal: controller.signal }));
      if (wait) await simulation.run();
      await simulation.run();
      expect(await ended).to.include({ code: Status.CANCELLED });
      expect(cleaned).to.equal(1);
    }
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("ends with what is no result of an iterator", async () => {
    const { simulation, calls, usage } = await connectPair();
    for (const result of [undefined, Promise.resolve(undefined)]) {
      const requests = { [Symbol.asyncIterator]: () => ({ next: () => result as never }) };
      const ended = rejection(calls.clientStream(requests));
      await simulation.run();
      expect(await ended).to.include({ code: Status.CANCELLED });
    }
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("is refused for metadata without a value, whatever calls before it have sent", async () => {
    const { simulation, calls } = await connectPair();
    const sent = calls.unary(part(0), { metadata: { "token-bin": new Uint8Array(20), a: "b" } });
    await simulation.run();
    await sent;
    for (const metadata of [{ "token-bin": undefined }, { a: undefined }, { zz: undefined }, null, "a"]) {
      const refused = rejection(calls.unary(part(0), { metadata: metadata as never }));
      await simulation.run();
      expect(await refused, JSON.stringify(metadata)).to.include({ code: Status.INVALID_ARGUMENT });
    }
    for (const signal of [null, 5]) {
      const refused = rejection(calls.unary(part(0), { signal: signal as never }));
      await simulation.run();
      expect(await refused).to.include({ code: Status.INVALID_ARGUMENT });
    }
  });
});
