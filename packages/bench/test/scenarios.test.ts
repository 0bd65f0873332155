import { expect } from "chai";
import { findImplementation } from "@sluice/bench/implementations/index.js";
import {
  allScenarios,
  defaultScenarios,
  findScenario,
  quickScenarios,
  scenarioId,
  selectScenarios,
} from "@sluice/bench/scenarios.js";

describe("scenarios", () => {
  for (const [name, scenarios] of [
    ["quick", quickScenarios()],
    ["default", defaultScenarios()],
    ["full", allScenarios()],
  ] as const) {
    it(`names each of the ${name} scenarios once, and only what its implementation has`, () => {
      const ids = scenarios.map(scenarioId);
      expect(new Set(ids).size).to.equal(ids.length);
      for (const { implementation, transport } of scenarios) {
        expect(findImplementation(implementation).transports).to.have.property(transport);
      }
    });
  }

  it("selects by part of the id, with what the call options are compared with", () => {
    expect(selectScenarios(quickScenarios(), ["/deadline"]).map(scenarioId)).to.deep.equal([
      "sluice/unix/unary/64/64",
      "sluice/unix/unary/64/64/deadline",
    ]);
    expect(selectScenarios(quickScenarios(), ["no such thing"])).to.deep.equal([]);
  });

  it("finds one by its id, or says which there are", () => {
    const id = "grpc-js/unix/unary/64/1";
    expect(scenarioId(findScenario(allScenarios(), id))).to.equal(id);
    expect(() => findScenario(allScenarios(), "grpc"))
      .to.throw(`no scenario is called "grpc"`)
      .with.property("message")
      .contains(id);
  });

  it("says which implementations there are", () => {
    expect(() => findImplementation("carrier pigeons")).to.throw("sluice, c++, grpc-js");
  });
});
