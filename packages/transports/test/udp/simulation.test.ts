import { expect } from "chai";
import { measureCalls, measureGoodput } from "./goodput.js";
import { runSeed } from "./run.js";

const SEEDS = 1000;
/** In these, all that the passive end said of the connection's end is lost or late. */
const LOST_ENDS = [3111, 7376, 7561, 8068];

describe("udp, simulated", function () {
  this.timeout(120_000);

  it(`delivers every frame once and in order, or says that the peer is gone, in ${SEEDS} random networks`, async () => {
    const outcomes: Record<string, number> = {};
    let long = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { outcome, longest } = await runSeed(seed);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (longest > 1200) long++;
    }
    // Or else it tests nothing.
    expect(outcomes["complete"]).to.be.above(SEEDS / 4);
    expect(outcomes["declared dead"]).to.be.above(SEEDS / 10);
    expect(long, "with longer packets").to.be.above(SEEDS / 4);
  });

  for (const seed of LOST_ENDS) {
    it(`ends in order although the last packets are lost (seed ${seed})`, async () => {
      expect((await runSeed(seed, false)).outcome).to.equal("complete");
    });
  }

  it("carries at least 70 % of what Reno can over 20 ms and 2 % loss each way", async () => {
    const { megabitsPerSecond, boundMegabitsPerSecond } = await measureGoodput(0.02, 60, 1);
    expect(megabitsPerSecond).to.be.above(0.7 * boundMegabitsPerSecond);
  });

  it("fills a link that loses nothing", async () => {
    const { megabitsPerSecond, boundMegabitsPerSecond } = await measureGoodput(0, 20, 1);
    expect(megabitsPerSecond).to.be.above(0.9 * boundMegabitsPerSecond);
  });

  it("answers 99 of 100 small calls within 4 round trips at 2 % loss each way", async () => {
    const calls = await measureCalls(0.02, 2000, 1);
    expect(calls[Math.ceil(0.99 * calls.length) - 1]).to.be.below(4);
  });
});
