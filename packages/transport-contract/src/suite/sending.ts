import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import { FRAME_HEADER_BYTES } from "@sluice/core";
import type { Fixture } from "../fixture.js";
import { frameFault, makeFrame } from "../frames.js";
import type { Endpoint } from "../endpoint.js";

/** No transport may take more than this from a sender whose peer reads nothing. */
const BUFFER_BOUND = 64 * 1024 * 1024;

/** Sizes around every power of two, from a bare header up to the largest frame. */
export function edgeSizes(maxFrameBytes: number): number[] {
  const sizes = new Set([FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + 1, maxFrameBytes - 1, maxFrameBytes]);
  for (let size = 16; size < maxFrameBytes; size *= 2) {
    for (const near of [size - 1, size, size + 1]) if (near >= FRAME_HEADER_BYTES) sizes.add(near);
  }
  return [...sizes];
}

/** Makes `to` check that exactly the frames 0, 1, 2... of these sizes come, without keeping them. */
export function expectFrames(to: Endpoint, sizes: readonly number[]): void {
  to.consume = (memory, start, end) => {
    const index = to.frameCount - 1;
    const fault =
      index < sizes.length
        ? frameFault(memory, start, end, index, sizes[index]!)
        : `frame ${index} was never sent`;
    if (fault !== undefined) to.violations.push(fault);
  };
}

export function* framesOf(sizes: Iterable<number>): Generator<Uint8Array> {
  let index = 0;
  for (const size of sizes) yield makeFrame(index++, size);
}

export function describeSending(fixture: Fixture): void {
  describe("sending", () => {
    afterEach(() => fixture.end());

    it("states its traits", async () => {
      const [near, far] = await fixture.pair();
      for (const { traits } of [near.connection, far.connection]) {
        expect(traits.maxFrameBytes).to.be.within(16 * 1024, 128 * 1024);
        expect(traits.peerDeath).to.be.oneOf(["carrier", "keepalive"]);
        expect(traits.reconnectable).to.be.a("boolean");
      }
      expect(near.connection.traits).to.deep.equal(far.connection.traits);
    });

    it("carries frames of every size in order, both ways", async () => {
      const [near, far] = await fixture.startedPair();
      const sizes = edgeSizes(near.connection.traits.maxFrameBytes);
      expectFrames(near, sizes);
      expectFrames(far, sizes);
      await Promise.all([
        near.sendAll(framesOf(sizes)),
        far.sendAll(framesOf(sizes)),
        near.received(sizes.length),
        far.received(sizes.length),
      ]);
    });

    it("keeps apart the frames that were committed in one turn", async () => {
      const [near, far] = await fixture.startedPair();
      for (let i = 0; i < 10; i++) expect(near.send(makeFrame(i, 20 + i))).to.equal(true);
      await far.received(10);
      expect(far.frames.map((frame) => frame.length)).to.deep.equal(
        Array.from({ length: 10 }, (_, i) => 20 + i),
      );
    });

    it("carries 20,000 small frames in order", async () => {
      const [near, far] = await fixture.startedPair();
      const sizes = Array.from({ length: 20_000 }, (_, i) => FRAME_HEADER_BYTES + (i % 53));
      expectFrames(far, sizes);
      await Promise.all([near.sendAll(framesOf(sizes)), far.received(sizes.length)]);
    });

    it("sends only the bytes that were committed of a range", async () => {
      const [near, far] = await fixture.startedPair();
      for (let i = 0; i < 3; i++) {
        const frame = makeFrame(i, 100);
        expect(near.reserve(1000)).to.equal(true);
        const { memory, rangeStart, rangeEnd } = near.connection;
        memory.fill(0xaa, rangeStart, rangeEnd);
        memory.set(frame, rangeStart);
        near.commit(frame.length);
      }
      await far.received(3);
      expect(far.frames).to.deep.equal([0, 1, 2].map((i) => makeFrame(i, 100)));
    });

    it("sends nothing of a cancelled reservation, and loses no room by it", async () => {
      const [near, far] = await fixture.startedPair();
      const { maxFrameBytes } = near.connection.traits;
      for (let i = 0; i < 1000; i++) {
        expect(near.reserve(maxFrameBytes)).to.equal(true);
        near.connection.memory.fill(0xaa, near.connection.rangeStart, near.connection.rangeEnd);
        near.cancel();
        if (i % 100 === 0) await setImmediate();
      }
      expect(near.connection.unsentBytes).to.equal(0);
      near.send(makeFrame(0, maxFrameBytes));
      await far.received(1);
      expect(far.frames).to.deep.equal([makeFrame(0, maxFrameBytes)]);
    });

    it("refuses to reserve when the peer reads nothing, and says when there is room", async () => {
      const [near, far] = await fixture.pair();
      near.start();
      const size = 4096;
      let sent = 0;
      // The carrier takes its share at the end of each turn; when two turns in a row take nothing, it is full.
      for (let idle = 0; idle < 2;) {
        idle++;
        while (near.send(makeFrame(sent, size))) {
          sent++;
          idle = 0;
          expect(sent * size, "bytes taken for a peer that reads nothing").to.be.below(BUFFER_BOUND);
        }
        await setImmediate();
        await setImmediate();
      }
      expect(near.connection.unsentBytes).to.be.above(0);
      const before = near.writableCount;
      expectFrames(far, new Array<number>(sent + 1).fill(size));
      far.start();
      await near.until(() => near.writableCount > before);
      expect(near.send(makeFrame(sent, size))).to.equal(true);
      await far.received(sent + 1);
    });

    it("says when there is room also when a smaller frame was sent after the refusal", async () => {
      const [near, far] = await fixture.pair();
      near.start();
      let sent = 0;
      for (const size of [4096, 512, 64, 12]) {
        // Each size until it is refused, also after the carrier has taken its share.
        for (let idle = 0; idle < 2;) {
          idle++;
          while (near.send(makeFrame(sent, size))) {
            sent++;
            idle = 0;
          }
          await setImmediate();
          await setImmediate();
        }
      }
      const before = near.writableCount;
      far.consume = () => {};
      far.start();
      await near.until(() => near.writableCount > before);
      await far.received(sent);
    });

    it("drains when both directions are full at once", async () => {
      const [near, far] = await fixture.pair();
      const sizes = Array.from({ length: 3000 }, (_, i) => 3000 + (i % 97));
      const frames = [...framesOf(sizes)];
      // Both fill their direction before either reads.
      const filled = [near, far].map((endpoint) => {
        let sent = 0;
        while (sent < frames.length && endpoint.send(frames[sent]!)) sent++;
        return sent;
      });
      expectFrames(near, sizes);
      expectFrames(far, sizes);
      near.start();
      far.start();
      await Promise.all([
        near.sendAll(frames.slice(filled[0])),
        far.sendAll(frames.slice(filled[1])),
        near.received(sizes.length),
        far.received(sizes.length),
      ]);
    });

    it("sends from inside onFrame", async () => {
      const [near, far] = await fixture.startedPair();
      const rounds = 500;
      const answer = (endpoint: Endpoint) => () => {
        if (endpoint.frameCount < rounds) endpoint.send(makeFrame(endpoint.frameCount, 64));
      };
      near.consume = answer(near);
      far.consume = answer(far);
      near.send(makeFrame(0, 64));
      await Promise.all([far.received(rounds), near.received(rounds - 1)]);
    });

    it("sends from inside onWritable", async () => {
      const [near, far] = await fixture.startedPair();
      const sizes = new Array<number>(2000).fill(2000);
      expectFrames(far, sizes);
      let sent = 0;
      const fill = (): void => {
        while (sent < sizes.length && near.send(makeFrame(sent, 2000))) sent++;
      };
      near.whenWritable = fill;
      fill();
      await far.received(sizes.length);
    });

    it("counts no unsent bytes once everything has been taken", async () => {
      const [near, far] = await fixture.startedPair();
      expect(near.connection.unsentBytes).to.equal(0);
      for (let i = 0; i < 50; i++) near.send(makeFrame(i, 1000));
      expect(near.connection.unsentBytes).to.be.within(0, 50_000);
      await far.received(50);
      while (near.connection.unsentBytes > 0) await setImmediate();
    });

    it("flushes on request", async () => {
      const [near, far] = await fixture.startedPair();
      near.flush();
      near.send(makeFrame(0, 100));
      near.flush();
      near.flush();
      near.send(makeFrame(1, 100));
      near.flush();
      await far.received(2);
      expect(far.frames).to.deep.equal([makeFrame(0, 100), makeFrame(1, 100)]);
    });

    it("keeps a reservation whole when something else flushes meanwhile", async () => {
      const [near, far] = await fixture.startedPair();
      near.send(makeFrame(0, 100));
      expect(near.reserve(100)).to.equal(true);
      near.flush();
      near.connection.memory.set(makeFrame(1, 100), near.connection.rangeStart);
      near.commit(100);
      await far.received(2);
      expect(far.frames).to.deep.equal([makeFrame(0, 100), makeFrame(1, 100)]);
    });
  });
}
