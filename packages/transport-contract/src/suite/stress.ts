import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import { FRAME_HEADER_BYTES } from "@sluice/core";
import type { Endpoint } from "../endpoint.js";
import type { Fixture } from "../fixture.js";
import { makeFrame } from "../frames.js";
import { chooseSeed, Random } from "../random.js";
import { expectFrames } from "./sending.js";

const FRAMES = 3000;

export function describeStress(fixture: Fixture): void {
  describe("stress", () => {
    const seed = chooseSeed();
    afterEach(() => fixture.end());

    it(`carries random traffic both ways and loses none of it at the close (TRANSPORT_SEED=${seed})`, async () => {
      const [near, far] = await fixture.startedPair();
      const random = new Random(seed);
      const sizesNear = randomSizes(random, near.connection.traits.maxFrameBytes);
      const sizesFar = randomSizes(random, near.connection.traits.maxFrameBytes);
      expectFrames(near, sizesFar);
      expectFrames(far, sizesNear);
      await Promise.all([
        traffic(near, sizesNear, new Random(seed + 1)),
        traffic(far, sizesFar, new Random(seed + 2)),
        // The far end closes last, so that nothing of it is cut off by the near end's close.
        near.received(FRAMES).then(() => far.until(() => far.frameCount >= FRAMES - 1)),
      ]);
      near.close();
      expect(await far.closed).to.equal(undefined);
      expect(await near.closed).to.equal(undefined);
      expect(far.frameCount).to.equal(FRAMES);
    });

    it(`survives connections that end at random moments (TRANSPORT_SEED=${seed})`, async () => {
      const random = new Random(seed);
      for (let round = 0; round < 60; round++) {
        const [near, far] = await fixture.pair();
        near.start();
        far.start();
        const flows = [near, far].map((endpoint) => {
          const sizes = Array.from({ length: 50 }, () => FRAME_HEADER_BYTES + random.below(20_000));
          return traffic(endpoint, sizes, new Random(seed + round)).catch(() => "ended");
        });
        for (let turns = random.below(8); turns > 0; turns--) await setImmediate();
        const ending = random.below(2) === 0 ? near : far;
        if (random.below(2) === 0) ending.close();
        else ending.destroy();
        await Promise.all([near.closed, far.closed, ...flows]);
      }
    });
  });
}

function randomSizes(random: Random, maxFrameBytes: number): number[] {
  return Array.from({ length: FRAMES }, () => {
    // Mostly small, some large, a few of the largest.
    const limit = [64, 64, 64, 1024, 1024, 8192, maxFrameBytes][random.below(7)]!;
    return FRAME_HEADER_BYTES + random.below(limit - FRAME_HEADER_BYTES + 1);
  });
}

/** Sends the frames in bursts, with cancelled reservations, flushes and pauses in between. */
async function traffic(endpoint: Endpoint, sizes: readonly number[], random: Random): Promise<void> {
  for (const [index, size] of sizes.entries()) {
    switch (random.below(20)) {
      case 0:
        if (endpoint.reserve(FRAME_HEADER_BYTES)) endpoint.cancel();
        break;
      case 1:
        endpoint.flush();
        break;
      case 2:
        await setImmediate();
        break;
    }
    await endpoint.sendAll([makeFrame(index, size)]);
  }
}
