import { makeRows, type BenchResult } from "@sluice/bench/result.js";
import type { Scenario } from "@sluice/bench/scenarios.js";
import type { Slice } from "@sluice/bench/statistics.js";

/** A slice of one call, in which half the calls took as long as the rate says, and some took longer. */
export function sliceOf(callsPerSecond: number): Slice {
  const us = 1e6 / callsPerSecond;
  return { calls: 1, callsPerSecond, p50Us: us, p90Us: 1.5 * us, p99Us: 2 * us, p999Us: 3 * us };
}

/** A result in which `rates` says how many calls a second each scenario made, in each of the rounds; `about` changes it. */
export function resultOf(
  scenarios: readonly Scenario[],
  rates: (scenario: Scenario) => readonly number[],
  about: Partial<BenchResult> = {},
): BenchResult {
  return {
    date: "2026-01-02T03:04:05.000Z",
    command: "--quick",
    machine: { cpu: "abacus", cpus: 2, memoryBytes: 2 ** 33, kernel: "Linux 6", loadAverage: 0.5 },
    placement: { serverCpu: 0, clientCpu: 1 },
    versions: { node: "20.0.0", "@grpc/grpc-js": "1.0.0" },
    ...makeRows(
      scenarios,
      scenarios.map((scenario) => rates(scenario).map(sliceOf)),
    ),
    skipped: [],
    held: [
      {
        ...{ implementation: "sluice", transport: "unix", calls: 8000 },
        ...{ serverBytesPerCall: 512.4, clientBytesPerCall: 1024.4 },
        ...{ serverPssBytesPerCall: 2048.4, clientPssBytesPerCall: 4096.4 },
      },
    ],
    allocation: [
      {
        ...{ implementation: "sluice", transport: "shm", bytes: 64, inFlight: 64, calls: 1000 },
        client: { libraryBytes: 150.2, messageBytes: 240.4, applicationBytes: 300 },
        server: { libraryBytes: 241, messageBytes: 241, applicationBytes: 50 },
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
    ...about,
  };
}
