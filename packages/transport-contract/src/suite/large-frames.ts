import { expect } from "chai";
import { FRAME_HEADER_BYTES, type LargeFrame, type LargeFrames } from "@sluice/core";
import type { Endpoint } from "../endpoint.js";
import type { Fixture } from "../fixture.js";
import { frameFault, makeFrame } from "../frames.js";
import { expectFrames, framesOf } from "./sending.js";

/** For connections that have memory for large frames, as `expected` says. */
export function describeLargeFrames(fixture: Fixture, expected: boolean): void {
  describe("large frames", () => {
    afterEach(() => fixture.end());

    it(expected ? "there is memory for" : "there is no memory for", async () => {
      for (const { connection } of await fixture.pair()) {
        if (expected) expect(connection.large!.available).to.equal(true);
        else expect(connection.large).to.equal(undefined);
      }
    });
    if (!expected) return;

    async function largePair(): Promise<[Endpoint, Endpoint, LargeFrames]> {
      const [near, far] = await fixture.startedPair();
      return [near, far, near.connection.large!];
    }

    /** Sends a large frame of `bytes`, for which there is memory. */
    function send(from: Endpoint, index: number, bytes: number): void {
      expect(from.connection.large!.available, "memory for another large frame").to.equal(true);
      expect(from.send(makeFrame(index, bytes)), "room for it").to.equal(true);
    }

    /** Sends ordinary frames until there is memory for a large one again. */
    async function awaitAvailable(from: Endpoint, to: Endpoint): Promise<void> {
      const { large } = from.connection;
      for (let i = 0; !large!.available && i < 1000; i++) {
        await from.sendAll([makeFrame(0, FRAME_HEADER_BYTES)]);
        await to.received(to.frameCount + 1);
      }
      expect(large!.available).to.equal(true);
    }

    it("are larger than others, and arrive among them in order", async () => {
      const [near, far, large] = await largePair();
      const { maxFrameBytes } = near.connection.traits;
      expect(large.maxBytes).to.be.greaterThan(maxFrameBytes);
      const sizes = [
        100,
        large.maxBytes,
        maxFrameBytes,
        maxFrameBytes + 1,
        12,
        300_000,
        13,
        large.maxBytes - 1,
      ];
      expectFrames(far, sizes);
      expectFrames(near, sizes);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        for (const [index, bytes] of sizes.entries()) {
          if (bytes > maxFrameBytes) {
            if (!from.connection.large!.available) await to.received(index);
            send(from, index, bytes);
          } else await from.sendAll([makeFrame(index, bytes)]);
        }
        await to.received(sizes.length);
      }
    });

    it("a receiver may keep them as long as it likes: others go on, and what is kept does not change", async () => {
      const [near, far, large] = await largePair();
      const kept: LargeFrame[] = [];
      far.keep = (frame) => kept.push(frame);
      let sent = 0;
      while (large.available) send(near, sent, 100_000 + sent++);
      expect(sent).to.be.greaterThan(0);
      await far.received(sent);
      const views = kept.map(lendPayload);
      // More than any ring holds.
      const sizes = Array.from({ length: 100 }, () => 60_000);
      far.consume = () => {};
      await near.sendAll(framesOf(sizes));
      await far.received(sent + sizes.length);
      expect(large.available).to.equal(false);
      for (const [index, view] of views.entries()) {
        const { memory, start, end } = kept[index]!;
        expect(frameFault(memory, start, end, index, 100_000 + index)).to.equal(undefined);
        expect(Buffer.compare(view, memory.subarray(start + FRAME_HEADER_BYTES, end))).to.equal(0);
      }
      // In any order.
      for (const [index, frame] of kept.entries()) {
        if (index % 2 === 1) frame.release();
      }
      for (const frame of kept) frame.release();
      for (const view of views) expect(view.length).to.equal(0);
      expect(() => lendPayload(kept[0]!)).to.throw(/released/);
      far.keep = undefined;
      await awaitAvailable(near, far);
    });

    it("all that were sent before the connection was closed arrive", async () => {
      const [near, far, large] = await largePair();
      let sent = 0;
      while (large.available) send(near, sent++, large.maxBytes);
      expectFrames(
        far,
        Array.from({ length: sent }, () => large.maxBytes),
      );
      near.close();
      await far.closed;
      expect(far.frameCount).to.equal(sent);
    });

    it("a range that was cancelled is used again", async () => {
      const [near, far, large] = await largePair();
      for (let i = 0; i < 100; i++) {
        expect(near.reserve(large.maxBytes)).to.equal(true);
        near.connection.memory.fill(1, near.connection.rangeStart, near.connection.rangeEnd);
        near.cancel();
      }
      expectFrames(far, [large.maxBytes, 20]);
      send(near, 0, large.maxBytes);
      await near.sendAll([makeFrame(1, 20)]);
      await far.received(2);
    });

    it("end with the connection, whichever side ends it", async () => {
      for (const ending of ["near", "far"] as const) {
        const [near, far, large] = await largePair();
        const kept: LargeFrame[] = [];
        far.keep = (frame) => kept.push(frame);
        send(near, 0, large.maxBytes);
        await far.received(1);
        const view = lendPayload(kept[0]!);
        expect(view.length).to.equal(large.maxBytes - FRAME_HEADER_BYTES);
        (ending === "near" ? near : far).destroy();
        await Promise.all([near.closed, far.closed]);
        expect(view.length).to.equal(0);
        kept[0]!.release();
      }
    });
  });
}

function lendPayload(frame: LargeFrame): Uint8Array {
  return frame.lend(frame.start + FRAME_HEADER_BYTES, frame.end);
}
