import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import type { Fixture } from "../fixture.js";
import { makeFrame } from "../frames.js";
import { edgeSizes, framesOf } from "./sending.js";

export function describeReceiving(fixture: Fixture): void {
  describe("receiving", () => {
    afterEach(() => fixture.end());

    it("delivers what arrived before the start", async () => {
      const [near, far] = await fixture.pair();
      near.start();
      near.send(makeFrame(0, 100));
      near.send(makeFrame(1, 200));
      for (let turn = 0; turn < 5; turn++) await setImmediate();
      expect(far.frameCount).to.equal(0);
      far.start();
      expect(far.frameCount, "frames delivered from inside start").to.equal(0);
      await far.received(2);
      expect(far.frames).to.deep.equal([makeFrame(0, 100), makeFrame(1, 200)]);
    });

    it("lends memory that is the receiver's own", async () => {
      const [near, far] = await fixture.startedPair();
      const sizes = edgeSizes(near.connection.traits.maxFrameBytes);
      // Whatever the receiver does to the bytes it is lent, neither the frames behind them nor the sender see it.
      far.consume = (memory, start, end) => {
        far.frames.push(memory.slice(start, end));
        memory.fill(0xff, start, end);
      };
      near.consume = (memory, start, end) => void near.frames.push(memory.slice(start, end));
      await Promise.all([
        near.sendAll(framesOf(sizes)),
        far.sendAll(framesOf(sizes)),
        near.received(sizes.length),
        far.received(sizes.length),
      ]);
      const sent = [...framesOf(sizes)];
      expect(far.frames.length).to.equal(sent.length);
      for (const [i, frame] of sent.entries()) {
        expect(Buffer.compare(far.frames[i]!, frame), `frame ${i} at the far end`).to.equal(0);
        expect(Buffer.compare(near.frames[i]!, frame), `frame ${i} at the near end`).to.equal(0);
      }
    });

    it("destroys only the connection whose onFrame throws", async () => {
      const [near, far] = await fixture.pair();
      const [otherNear, otherFar] = await fixture.pair();
      for (const endpoint of [near, far, otherNear, otherFar]) endpoint.start();
      const thrown = new Error("thrown by onFrame");
      far.consume = () => {
        throw thrown;
      };
      near.send(makeFrame(0, 100));
      near.send(makeFrame(1, 100));
      expect(await far.closed).to.equal(thrown);
      expect(far.frameCount, "frames delivered, the one that threw included").to.equal(1);
      await near.closed;
      otherNear.send(makeFrame(0, 100));
      otherFar.send(makeFrame(0, 100));
      await Promise.all([otherNear.received(1), otherFar.received(1)]);
      const [lateNear, lateFar] = await fixture.pair();
      lateFar.start();
      lateNear.start().send(makeFrame(0, 100));
      await lateFar.received(1);
    });

    it("lets timers and other events in while frames keep coming", async () => {
      const [near, far] = await fixture.startedPair();
      let answering = true;
      near.consume = () => void (answering && near.send(makeFrame(0, 64)));
      far.consume = () => void far.send(makeFrame(0, 64));
      near.send(makeFrame(0, 64));
      await near.received(1000);
      await new Promise((resolve) => setTimeout(resolve, 1));
      answering = false;
    });
  });
}
