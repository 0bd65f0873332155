import { expect } from "chai";
import { Status } from "@sluice/core";
import { generationOf, MAX_GENERATION, slotOf, streamId } from "#core/wire.js";
import { connectPair, connectRaw, FrameType, IDLE, part, rejection } from "./fixture.js";
import type { Part } from "./simulation/service.js";

const UNARY = openPayload("sim.Test/Unary");
const BIDI = openPayload("sim.Test/Bidi");
const NAMED = 0x01;
const MESSAGE = 0x08;
const LAST = 0x20;

function openPayload(path: string, message: readonly number[] = []): number[] {
  return [path.length & 0xff, path.length >> 8, ...new TextEncoder().encode(path), ...message];
}

describe("streams", () => {
  it("use slots again, each time with the next generation, which begins again after 32,767", async () => {
    const { simulation, near, calls, usage } = await connectPair();
    const ids: number[] = [];
    near.onCommit = ({ type, stream }) => {
      if (type === FrameType.OPEN) ids.push(stream);
    };
    for (let i = 0; i < MAX_GENERATION + 2; i++) {
      const answer = calls.unary(part(0));
      while (simulation.step());
      await answer;
    }
    expect(ids.map(slotOf).every((slot) => slot === 0)).to.equal(true);
    expect(generationOf(ids[0])).to.equal(1);
    expect(generationOf(ids[MAX_GENERATION - 1])).to.equal(MAX_GENERATION);
    expect(generationOf(ids[MAX_GENERATION])).to.equal(1);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  describe("of a peer", () => {
    const openings: [string, number, RegExp][] = [
      ["the wrong parity", streamId(0, 0, 1), /parity/],
      ["a slot over the limit", streamId(1, 3, 1), /slot 3 is not below the limit of 3/],
      ["generation 0", streamId(1, 0, 0), /generation/],
      ["a generation that is not the next", streamId(1, 0, 2), /generation/],
    ];
    for (const [what, stream, text] of openings) {
      it(`are refused with ${what}`, async () => {
        const { simulation, peer } = await connectRaw({ end: { limits: { maxConcurrentStreams: 3 } } });
        peer.send(FrameType.OPEN, { stream, flags: NAMED | MESSAGE | LAST, payload: UNARY });
        await simulation.run(0);
        expect(peer.goaway.text).to.match(text);
        expect(peer.closed).to.equal(true);
      });
    }

    it("are refused while the slot is in use, and with an id that was used before", async () => {
      for (const [flags, second] of [
        [NAMED, streamId(1, 0, 2)],
        [NAMED | MESSAGE | LAST, streamId(1, 0, 1)],
      ] as const) {
        const { simulation, peer } = await connectRaw();
        peer.send(FrameType.OPEN, { stream: streamId(1, 0, 1), flags, payload: UNARY });
        await simulation.run(0);
        expect(peer.received(FrameType.END)).to.have.length(flags === NAMED ? 0 : 1);
        peer.send(FrameType.OPEN, { stream: second, flags: MESSAGE | LAST });
        await simulation.run(0);
        expect(peer.goaway.text).to.match(/in use, or its generation/);
      }
    });

    it("may be sent CREDIT and RESET after their end, but nothing else", async () => {
      const stream = streamId(1, 0, 1);
      for (const [type, payload] of [
        [FrameType.CREDIT, [1, 0, 0, 0]],
        [FrameType.RESET, []],
        [FrameType.DATA, []],
        [FrameType.END, []],
        [FrameType.HEADERS, [0, 0]],
      ] as const) {
        const { simulation, peer, usage } = await connectRaw();
        peer.send(FrameType.OPEN, { stream, flags: NAMED | MESSAGE | LAST, payload: UNARY });
        await simulation.run(0);
        expect(peer.received(FrameType.END)).to.have.length(1);
        peer.send(type, { stream, payload, flags: type === FrameType.HEADERS ? 4 : 0 });
        await simulation.run(0);
        if (type === FrameType.CREDIT || type === FrameType.RESET) {
          expect(peer.received(FrameType.GOAWAY)).to.have.length(0);
          expect(peer.received(FrameType.RESET)).to.have.length(0);
          expect(usage()).to.deep.equal(IDLE);
        } else expect(peer.goaway.text).to.match(/not open/);
      }
    });

    it("must exist", async () => {
      for (const type of [
        FrameType.CREDIT,
        FrameType.RESET,
        FrameType.DATA,
        FrameType.END,
        FrameType.HEADERS,
      ]) {
        for (const stream of [
          streamId(1, 0, 1),
          streamId(1, 5, 1),
          streamId(0, 0, 1),
          streamId(1, 60_000, 3),
        ]) {
          const { simulation, peer } = await connectRaw();
          peer.send(type, { stream, payload: type === FrameType.CREDIT ? [1, 0, 0, 0] : [] });
          await simulation.run(0);
          expect(peer.goaway.text).to.match(/not open|never open/);
        }
      }
    });

    it("answer RESET with RESET, unless they have ended", async () => {
      const { simulation, peer, usage } = await connectRaw({
        end: { implementation: { unary: () => new Promise(() => {}) } },
      });
      const stream = streamId(1, 0, 1);
      peer.send(FrameType.OPEN, { stream, flags: NAMED | MESSAGE | LAST, payload: UNARY });
      await simulation.run(0);
      peer.send(FrameType.RESET, { stream, aux: Status.CANCELLED });
      await simulation.run(0);
      expect(peer.received(FrameType.RESET).map(({ stream: of }) => of)).to.deep.equal([stream]);
      // The slot is free again.
      peer.send(FrameType.OPEN, { stream: streamId(1, 0, 2), flags: NAMED, aux: 1, payload: BIDI });
      peer.send(FrameType.DATA, { stream: streamId(1, 0, 2), flags: LAST });
      await simulation.run(0);
      expect(peer.received(FrameType.END)).to.have.length(1);
      expect(usage()).to.deep.include({ remoteStreams: 0, unreturnedBytes: 0 });
    });

    it("count against the limit until their END has been sent, also when they were cancelled", async () => {
      const { simulation, peer, connection } = await connectRaw({
        end: { limits: { maxConcurrentStreams: 1 } },
      });
      const stream = streamId(1, 0, 1);
      peer.send(FrameType.OPEN, { stream, flags: NAMED, payload: BIDI });
      await simulation.run(0);
      connection.full = true;
      peer.send(FrameType.RESET, { stream, aux: Status.CANCELLED });
      await simulation.run(0);
      peer.send(FrameType.OPEN, { stream: streamId(1, 0, 2) });
      await simulation.run(0);
      expect(connection.closed).to.equal(true);
    });

    it("are dropped after a half of them was reset, and give back their credit", async () => {
      const { simulation, peer, usage } = await connectRaw({
        end: {
          implementation: {
            async *bidi() {
              throw new Error("at once");
            },
          },
        },
      });
      const stream = streamId(1, 0, 1);
      peer.send(FrameType.OPEN, { stream, flags: NAMED, payload: BIDI });
      await simulation.run(0);
      expect(peer.received(FrameType.END)).to.have.length(1);
      for (let i = 0; i < 3; i++) peer.send(FrameType.DATA, { stream, payload: [8, 1] });
      await simulation.run(0);
      expect(usage()).to.deep.include({ remoteStreams: 1, unreturnedBytes: 0 });
      peer.send(FrameType.END, { stream });
      await simulation.run(0);
      expect(usage()).to.deep.equal(IDLE);
      peer.send(FrameType.OPEN, { stream: streamId(1, 0, 2), aux: 0 });
      await simulation.run(0);
      expect(peer.received(FrameType.GOAWAY)).to.have.length(0);
    });
  });

  it("may be drawn from an array or a plain generator, no faster than they are consumed", async () => {
    let drawn = 0;
    let cleanedUp = false;
    const { simulation, calls, usage } = await connectPair({
      server: {
        implementation: {
          *serverStream() {
            try {
              for (;;) yield part(drawn++, 1000);
            } finally {
              cleanedUp = true;
            }
          },
          bidi: () => [part(1), part(2), part(3)],
        },
      },
    });
    const all: number[] = [];
    const reading = (async () => {
      for await (const { index } of calls.bidi([])) all.push(index);
    })();
    await simulation.run();
    await reading;
    expect(all).to.deep.equal([1, 2, 3]);

    const iterator = calls.serverStream(part(0))[Symbol.asyncIterator]();
    await simulation.run();
    const ahead = drawn;
    expect(ahead).to.be.within(100, 1000);
    for (let index = 0; index < 500; index++) {
      const next = iterator.next();
      await simulation.run();
      expect(((await next).value as Part).index).to.equal(index);
    }
    expect(drawn).to.be.within(ahead + 300, ahead + 600);
    await iterator.return!();
    await simulation.run();
    expect(cleanedUp).to.equal(true);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("wait for a slot in the order of their calls, in a queue with a limit", async () => {
    const { simulation, calls } = await connectPair({
      client: { limits: { maxQueuedCalls: 3 } },
      server: { limits: { maxConcurrentStreams: 1 } },
    });
    const order: number[] = [];
    const answers = [0, 1, 2, 3].map((i) => calls.unary(part(i)).then(({ index }) => order.push(index)));
    const refused = [rejection(calls.unary(part(4))), rejection(collect(calls.serverStream(part(5))))];
    for (const error of await Promise.all(refused)) {
      expect(error).to.include({ code: Status.RESOURCE_EXHAUSTED, mayHaveRun: false });
      expect(error.message).to.match(/maxQueuedCalls/);
    }
    await simulation.run(0);
    await Promise.all(answers);
    expect(order).to.deep.equal([0, 1, 2, 3]);
  });

  it("that wait for a slot can expire and be cancelled, and are forgotten then", async () => {
    const { simulation, calls, usage } = await connectPair({
      server: { limits: { maxConcurrentStreams: 1 }, implementation: { serverStream: () => never() } },
    });
    const controller = new AbortController();
    const running = rejection(collect(calls.serverStream(part(0), { signal: controller.signal })));
    const expired = Array.from({ length: 200 }, (_, i) =>
      rejection(calls.unary(part(0), { timeoutMs: 1 + i })),
    );
    const cancelled = Array.from({ length: 200 }, () =>
      rejection(calls.unary(part(0), { signal: controller.signal })),
    );
    const last = calls.unary(part(7));
    await simulation.run(1000);
    for (const error of await Promise.all(expired)) {
      expect(error).to.include({ code: Status.DEADLINE_EXCEEDED, mayHaveRun: false });
    }
    controller.abort();
    for (const error of await Promise.all(cancelled)) {
      expect(error).to.include({ code: Status.CANCELLED, mayHaveRun: false });
    }
    await simulation.run(0);
    expect((await running).code).to.equal(Status.CANCELLED);
    expect((await last).index).to.equal(7);
    expect(usage()[0]).to.deep.equal(IDLE);
  });
});

async function collect<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const message of messages) all.push(message);
  return all;
}

async function* never<T>(): AsyncGenerator<T> {
  await new Promise(() => {});
}
