import { expect } from "chai";
import { bars } from "@sluice/bench/bars.js";
import { markdownReport, terminalReport } from "@sluice/bench/report.js";
import type { BenchResult, Row } from "@sluice/bench/result.js";
import { defaultScenarios, quickScenarios, selectScenarios, type Scenario } from "@sluice/bench/scenarios.js";
import { resultOf } from "./result.js";

describe("results", () => {
  const quick = (rate: (scenario: Scenario) => number) =>
    resultOf(quickScenarios(), (scenario) => [rate(scenario), rate(scenario)]);
  const fast = quick(({ implementation, kind, option }) => {
    if (implementation === "sluice") return option === undefined ? 200_000 : 180_000;
    if (implementation === "grpc-js") return 1000;
    return kind === "unary" ? 10_000 : 50_000;
  });

  it("have a row for each scenario, and those with call options apart", () => {
    const keys = fast.rows.map((row) =>
      [row.implementation, row.transport, row.kind, row.bytes, row.inFlight].join(),
    );
    expect(new Set(keys).size).to.equal(keys.length);
    expect(fast.rows[0]).to.include({
      kind: "unary",
      bytes: 64,
      inFlight: 1,
      callsPerSecond: 200_000,
      p99Us: 10,
    });
    expect(fast.callOptions.map(({ option }) => option)).to.deep.equal(["deadline", "metadata", "signal"]);
    for (const { costPercent } of fast.callOptions) expect(costPercent).to.be.closeTo(10, 1e-9);
  });

  it("have no row for what cannot be compared, because the plain scenario was skipped", () => {
    const [plain, option] = selectScenarios(quickScenarios(), ["sluice/unix/unary/64/64"]).filter(
      ({ option }) => option !== "metadata" && option !== "signal",
    );
    expect(resultOf([plain, option], () => [1000]).callOptions).to.have.lengthOf(1);
    expect(resultOf([option], () => [1000])).to.deep.include({ rows: [], callOptions: [] });
  });

  it("meet the goals, or not, by their figures", () => {
    const all = bars(fast);
    expect(all).to.have.lengthOf.above(20);
    for (const { met, what } of all) expect(met, what).to.be.true;
    const slow = quick(({ option }) => (option === undefined ? 1000 : 800));
    const ofSluice = ({ what }: { what: string }) =>
      !/idle|heap|node:net|C\+\+|millisecond|one CPU|timer|p99/.test(what);
    const judged = bars(slow).filter(ofSluice);
    expect(judged).to.have.lengthOf(all.filter(ofSluice).length);
    for (const { met, what } of judged) expect(met, what).to.be.false;
    expect(bars(slow)[0]).to.include({ goal: "at least 80x", measured: "1.0x" });
    expect(bars(slow).find(({ goal }) => goal === "ahead of every peer")?.measured).to.contain(
      "memory/64/1, memory/64/64, pipe/64/1, ...",
    );
  });

  it("are held to what the library allocates at both ends, and not to what messages need", () => {
    const judge = (libraryBytes: number) => {
      const end = { libraryBytes, messageBytes: 500, applicationBytes: 500 };
      const allocation = [{ ...fast.allocation[0], client: end, server: end }];
      return bars({ ...fast, allocation }).find(({ what }) => what.includes("heap"));
    };
    expect(judge(199)).to.include({ measured: "398 B", met: true });
    expect(judge(200)).to.include({ measured: "400 B", met: false });
  });

  it("are held to what C++ does, to short tails, and to as much over many connections", () => {
    const of = (rate: (scenario: Scenario) => number) => {
      const result = resultOf(defaultScenarios(), (scenario) => [rate(scenario)]);
      const long = (row: Row): Row => ({ ...row, p99Us: 9 * row.p50Us });
      const judge = (result: BenchResult, what: RegExp) => {
        const found = bars(result).filter((bar) => what.test(bar.what));
        expect(found, String(what)).not.to.be.empty;
        return found.map(({ met }) => met);
      };
      return {
        ofLimits: judge(result, /of the C\+\+ echo's throughput/),
        connections: judge(result, /over 1,000 connections/),
        tails: judge(result, /p99 against p50/),
        longTails: judge({ ...result, rows: result.rows.map(long) }, /p99 against p50/),
      };
    };
    const good = of(({ connections }) => (connections === undefined ? 1000 : 800));
    const bad = of(({ implementation, connections }) =>
      connections !== undefined ? 100 : implementation === "c++" ? 1e6 : 1000,
    );
    expect(good.ofLimits.every((met) => met)).to.be.true;
    expect(bad.ofLimits.some((met) => met)).to.be.false;
    expect(good.connections).to.deep.equal([true, true, true]);
    expect(bad.connections).to.deep.equal([false, false, false]);
    expect(good.tails.every((met) => met)).to.be.true;
    expect(good.longTails.some((met) => met)).to.be.false;
  });

  it("are judged only by what was measured", () => {
    expect(
      bars({ ...fast, rows: [], callOptions: [], connections: [], idle: [], polling: [], allocation: [] }),
    ).to.deep.equal([]);
  });

  it("print as tables for a terminal and in markdown", () => {
    expect(terminalReport(fast, false)).to.contain("Call options").and.not.contain("\x1b");
    const markdown = markdownReport(fast).replaceAll(/ +/g, " ");
    expect(markdown).to.contain("`npm run bench -- --quick`, begun 2026-01-02");
    expect(markdown).to.contain(
      "| sluice | unix | unary | 64 KiB | 64 | 200,000 | 200,000 to 200,000 | 5.00 | 10.0 |",
    );
    expect(markdown).to.contain(
      "| sluice | unix | 10,000 | 20 MiB | 100 MiB | 8.2 KiB | 4.1 KiB | 0 ms in 5.0 s |",
    );
    expect(markdown).to.contain("| sluice | unix | 8,000 | 512 B | 1,024 B |");
    expect(markdown).to.contain("| sluice | unix | 12.3 ms | 5.7 ms |");
    expect(markdown).to.contain("| sluice | @sluice/node | 5 | 1.5 MiB |");
    expect(markdown).to.contain("| shm | one every 1 ms | 40.0 | 90.0 | 8.0 % |");
  });
});
