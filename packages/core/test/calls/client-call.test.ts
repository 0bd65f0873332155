import { expect } from "chai";
import { RpcError, Status } from "@sluice/core";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";

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
});
