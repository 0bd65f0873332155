import { expect } from "chai";
import { compare } from "@sluice/bench/compare.js";
import { comparisonReport, markdownTables, terminalTables, type Section } from "@sluice/bench/report.js";
import type { BenchResult } from "@sluice/bench/result.js";
import { defaultScenarios, selectScenarios, type Scenario } from "@sluice/bench/scenarios.js";
import { resultOf } from "./result.js";

const SCENARIOS = selectScenarios(defaultScenarios(), ["sluice/unix/unary/64/64", "grpc-js/unix/unary/64/1"]);

const run = (rates: (scenario: Scenario) => readonly number[], about?: Partial<BenchResult>) =>
  resultOf(SCENARIOS, rates, about);

const onTerminal = (sections: readonly Section[]) => terminalTables(sections, false);

describe("comparing two runs", () => {
  const before = run(() => [100, 110, 120]);
  const changedIds = (after: BenchResult) =>
    compare(before, after)
      .changes.filter(({ changed }) => changed.length > 0)
      .map(({ id }) => id);

  it("takes every kind of row, by its id", () => {
    const ids = compare(before, before).changes.map(({ id }) => id);
    expect(ids).to.include.members([
      "sluice/unix/unary/64/64",
      "sluice/unix/unary/64/64/deadline",
      "sluice/unix/unary/64/64/unpinned",
      "grpc-js/unix/unary/64/1000/1000-connections",
    ]);
    expect(ids).to.have.lengthOf(SCENARIOS.length);
  });

  it("finds nothing where the repetitions overlap, however far the medians are", () => {
    expect(changedIds(before)).to.deep.equal([]);
    expect(changedIds(run(() => [120, 500, 900]))).to.deep.equal([]);
  });

  it("finds nothing in a small difference, however sure", () => {
    expect(changedIds(run(() => [120.1, 120.2, 120.3]))).to.have.lengthOf(SCENARIOS.length);
    const [close, closeBy] = [run(() => [100, 100.1, 100.2]), run(() => [101, 102, 103])];
    for (const { changed, id } of compare(close, closeBy).changes) expect(changed, id).to.deep.equal([]);
  });

  it("finds nothing where there are too few repetitions, and says so", () => {
    const comparison = compare(
      run(() => [100, 110]),
      run(() => [1000, 1100]),
    );
    for (const { changed, id } of comparison.changes) expect(changed, id).to.deep.equal([]);
    expect(comparison.undecided).to.equal(SCENARIOS.length);
    expect(comparisonReport(comparison, onTerminal)).to.contain("too few repetitions");
    expect(compare(before, before).undecided).to.equal(0);
  });

  it("needs three repetitions of each, however many the other has", () => {
    const [two, five] = [run(() => [100, 110]), run(() => [1000, 1100, 1200, 1300, 1400])];
    for (const { changes, undecided, chance } of [compare(two, five), compare(five, two)]) {
      for (const { changed, id } of changes) expect(changed, id).to.deep.equal([]);
      expect(undecided).to.equal(SCENARIOS.length);
      expect(chance).to.equal(0);
    }
  });

  it("counts no chance where nothing can be called a change", () => {
    const rounds = ({ implementation }: Scenario) => (implementation === "sluice" ? [100, 110, 120] : [100]);
    const ofSluice = SCENARIOS.filter(({ implementation }) => implementation === "sluice").length;
    const { undecided, chance } = compare(run(rounds), run(rounds));
    expect(undecided).to.equal(SCENARIOS.length - ofSluice);
    expect(chance).to.be.closeTo((0.1 * ofSluice) / SCENARIOS.length, 1e-9);
  });

  it("prints in markdown, too", () => {
    const comparison = compare(
      before,
      run(() => [200, 210, 220]),
    );
    const text = comparisonReport(comparison, markdownTables);
    expect(text).to.match(/^### Changed: .*\n\n\| scenario /);
    expect(text)
      .to.contain("\n\n- A change is called so")
      .and.not.to.match(/[\u2500-\u257f]/);
  });

  it("tells the code from the machine by what is the same in both", () => {
    const after = run(({ implementation }) =>
      implementation === "sluice" ? [200, 210, 220] : [90, 100, 110],
    );
    const comparison = compare(before, after);
    expect(comparison.machine).to.be.closeTo(100 / 110, 1e-9);
    expect(comparison.chance).to.be.closeTo(0.1, 1e-9);
    expect(changedIds(after)).to.deep.equal(
      compare(before, after)
        .changes.filter(({ control }) => !control)
        .map(({ id }) => id),
    );
    const text = comparisonReport(comparison, onTerminal);
    expect(text).to.contain("91 % of before").and.to.contain("+91 %").and.to.contain("10.0 % of cases");
  });

  it("says what else differs, and takes no peer of another version for the same", () => {
    const after = run(() => [100, 110, 120], {
      versions: { node: "20.0.0", "@grpc/grpc-js": "2.0.0" },
      placement: null,
    });
    const comparison = compare(before, after);
    expect(comparison.differences).to.deep.equal([
      "placement: CPUs 0 and 1, now not pinned",
      "@grpc/grpc-js: 1.0.0, now 2.0.0",
    ]);
    expect(comparison.machine).to.equal(undefined);
    expect(comparisonReport(comparison, onTerminal)).to.contain("Nothing changed beyond noise");
  });
});
