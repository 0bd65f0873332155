import { runSeed } from "./run.js";

const SEEDS = 4000;

describe("a session, simulated", function () {
  this.timeout(90_000);

  it(`keeps its promises in ${SEEDS} random worlds`, async () => {
    for (let seed = 1; seed <= SEEDS; seed++) await runSeed(seed);
  });
});
