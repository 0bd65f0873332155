import { expect } from "chai";
import { bars } from "@sluice/bench/bars.js";
import { markdownReport, terminalReport } from "@sluice/bench/report.js";
import { makeRows, type BenchResult } from "@sluice/bench/result.js";
import { sliceOf } from "./slice.js";
import { quickScenarios, type Scenario } from "@sluice/bench/scenarios.js";

/** A result in which `callsPerSecond` decides how fast each scenario was, the same in each of two rounds. */
function resultOf(callsPerSecond: (scenario: Scenario) => number): BenchResult {
  const scenarios = quickScenarios();
  const slices = scenarios.map((scenario) => {
    const rate = callsPerSecond(scenario);
    return [sliceOf(rate), sliceOf(rate)];
  });
  return {
    date: "2026-01-02T03:04:05.000Z",
    command: "--quick",
    machine: { cpu: "abacus", cpus: 2, memoryBytes: 2 ** 33, kernel: "Linux 6", loadAverage: 0.5 },
    placement: { serverCpu: 0, clientCpu: 1 },
    versions: { node: "20.0.0" },
    ...makeRows(scenarios, slices),
    skipped: [],
    held: [
      {
        ...{ implementation: "sluice", transport: "unix", calls: 8000 },
        ...{ serverBytesPerCall: 512.4, clientBytesPerCall: 1024.4 },
      },
    ],
    startUp: [{ implementation: "sluice", transport: "unix", loadMs: 12.34, firstCallMs: 5.67, rounds: 5 }],
    sizes: [{ implementation: "sluice", packageName: "@sluice/node", packages: 5, bytes: 1.5 * 2 ** 20 }],
    idle: [
      {
        implementation: "sluice",
        transport: "unix",
        connections: 10_000,
        emptyPssBytes: 20 * 2 ** 20,
        pssBytes: 100 * 2 ** 20,
        clientsPssBytes: 40 * 2 ** 20,
        cpuMs: 0,
        watchedMs: 5000,
      },
      {
        implementation: "sluice",
        transport: "shm",
        connections: 1000,
        emptyPssBytes: 20 * 2 ** 20,
        pssBytes: 30 * 2 ** 20,
        clientsPssBytes: 10 * 2 ** 20,
        cpuMs: 0,
        watchedMs: 5000,
      },
    ],
    polling: (["shm", "shm-nopoll"] as const).map((transport) => ({
      implementation: "sluice",
      transport,
      paced: [{ gapMs: 1, p50Us: 40, p99Us: 90, cpuPercent: 8 }],
      idleCpuPercent: 0.1,
      sameCpuP50Us: transport === "shm" ? 8 : 10,
      timerP50Ms: 10.1,
      timerMaxMs: 12.5,
    })),
  };
}

describe("results", () => {
  const fast = resultOf(({ implementation, option }) =>
    implementation === "sluice"
      ? option === undefined
        ? 200_000
        : 180_000
      : implementation === "grpc-js"
        ? 1000
        : 50_000,
  );

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

  it("meet the goals, or not, by their figures", () => {
    const all = bars(fast);
    expect(all).to.have.lengthOf.above(20);
    for (const { met, what } of all) expect(met, what).to.be.true;
    const slow = resultOf(({ option }) => (option === undefined ? 1000 : 800));
    const ofSluice = ({ what }: { what: string }) =>
      !/idle|node:net|C\+\+|millisecond|one CPU|timer/.test(what);
    const judged = bars(slow).filter(ofSluice);
    expect(judged).to.have.lengthOf(all.filter(ofSluice).length);
    for (const { met, what } of judged) expect(met, what).to.be.false;
    expect(bars(slow)[0]).to.include({ goal: "at least 50x", measured: "1.0x" });
  });

  it("are judged only by what was measured", () => {
    expect(bars({ ...fast, rows: [], callOptions: [], idle: [], polling: [] })).to.deep.equal([]);
  });

  it("print as tables for a terminal and in markdown", () => {
    expect(terminalReport(fast, false)).to.contain("Call options").and.not.contain("\x1b");
    const markdown = markdownReport(fast);
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
