import { expect } from "chai";
import { measure, type Plan } from "@sluice/bench/runner.js";
import { quickScenarios, selectScenarios } from "@sluice/bench/scenarios.js";

const PLAN: Plan = { rounds: 2, warmUpMs: 5, timing: { leadInMs: 5, sliceMs: 10 } };

describe("measuring", function () {
  this.timeout(120_000);

  it("gives each scenario a slice a round, checked by its client", async () => {
    const scenarios = quickScenarios().filter(({ bytes, inFlight }) => bytes === 64 && inFlight === 1);
    const stages: string[] = [];
    const slices = await measure(scenarios, PLAN, (text) => stages.push(text));
    expect(slices).to.have.lengthOf(scenarios.length);
    for (const rounds of slices) {
      expect(rounds).to.have.lengthOf(PLAN.rounds);
      for (const slice of rounds) {
        expect(slice.calls).to.be.at.least(1);
        expect(slice.callsPerSecond).to.be.above(0);
        expect(slice.p99Us).to.be.at.least(slice.p50Us);
      }
    }
    expect(stages.at(-1)).to.equal("ending the processes");
  });

  it("names the scenario that fails, and why", async () => {
    const [scenario] = selectScenarios(quickScenarios(), ["node:net/unix/echo/64/1"]);
    const error = await measure([{ ...scenario, kind: "serverStreaming" }], PLAN, () => {}).catch(
      (error: unknown) => error as Error,
    );
    expect(error).to.be.an("error").with.property("message", "node:net/unix/serverStreaming/64/1 failed");
    expect((error as Error).cause)
      .to.be.an("error")
      .with.property("message")
      .contains("node:net has no serverStreaming");
  });
});
