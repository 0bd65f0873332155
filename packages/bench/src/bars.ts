/** The goals that Sluice's calls are held to, and what a run says of each. */
import type { BenchResult, Row } from "./result.js";
import type { CallOption, Kind } from "./scenarios.js";

export interface Bar {
  readonly what: string;
  readonly goal: string;
  readonly measured: string;
  readonly met: boolean;
}

const MIB = 1024 * 1024;
const MAX_OPTION_COST_PERCENT = 15;
const MAX_IDLE_PSS_BYTES = 400 * MIB;
const MAX_ALLOCATED_BYTES = 400;
const MAX_NAMED = 3;
/** The kernel counts CPU time in steps of 10 ms: below this share of one CPU is none that can be told from rounding. */
const NO_CPU_PERCENT = 0.5;

/** The goals on which `result` has something to say. */
export function bars(result: BenchResult): Bar[] {
  const row = (implementation: string, transport: string, kind: Kind, bytes: number, inFlight: number) =>
    result.rows.find(
      (row) =>
        row.implementation === implementation &&
        row.transport === transport &&
        row.kind === kind &&
        row.bytes === bytes &&
        row.inFlight === inFlight,
    );
  const overGrpc = (
    what: string,
    goal: number,
    transport: string,
    kind: Kind,
    bytes: number,
    inFlight: number,
  ) =>
    bar(
      `${what}, over grpc-js on unix`,
      `at least ${goal}x`,
      ratio(
        row("sluice", transport, kind, bytes, inFlight),
        row("grpc-js", "unix", kind, bytes, inFlight),
        (row) => row.callsPerSecond,
      ),
      (value) => ({ measured: `${value.toFixed(1)}x`, met: value >= goal }),
    );
  const latencyUnderGrpc = (what: string, goal: number, transport: string) =>
    bar(
      `${what}, p50 against grpc-js on unix`,
      `${goal}x faster`,
      ratio(
        row("grpc-js", "unix", "unary", 64, 1),
        row("sluice", transport, "unary", 64, 1),
        (row) => row.p50Us,
      ),
      (value) => ({ measured: `${value.toFixed(0)}x`, met: value >= goal }),
    );
  const latencyOverNet = (transport: string, maxSlowdown: number) =>
    bar(
      `${transport}: unary, 64 B, 1 in flight, p50 against raw node:net`,
      `at most ${maxSlowdown}x`,
      ratio(
        row("sluice", transport, "unary", 64, 1),
        row("node:net", "unix", "echo", 64, 1),
        (row) => row.p50Us,
      ),
      (value) => ({ measured: `${value.toFixed(2)}x`, met: value <= maxSlowdown }),
    );
  const overPeers = (what: string, goal: number, transport: string, bytes: number, inFlight: number) =>
    bar(
      `${what}, over the best other peer`,
      `at least ${goal}x`,
      ratio(
        row("sluice", transport, "unary", bytes, inFlight),
        bestPeer(result, bytes, inFlight, ({ implementation }) => implementation !== "grpc-js"),
        (row) => row.callsPerSecond,
      ),
      (value) => ({ measured: `${value.toFixed(1)}x`, met: value >= goal }),
    );
  const ofLimit = (transport: string, limit: string, goal: number, bytes: number, inFlight: number) =>
    bar(
      `${transport}: unary, ${bytes >= MIB ? "1 MiB" : "64 KiB"}, ${inFlight} in flight, of the C++ echo's throughput`,
      `at least ${goal} %`,
      ratio(
        row("sluice", transport, "unary", bytes, inFlight),
        row("c++", limit, "echo", bytes, inFlight),
        (row) => row.callsPerSecond,
      ),
      (value) => ({ measured: `${(value * 100).toFixed(0)} %`, met: value * 100 >= goal }),
    );
  const maxRingSlowdown = 4;
  const all = [
    ...(["unix", "tcp", "pipe", "fifo"] as const).map((transport) =>
      overGrpc(
        `${transport}: unary, 64 B, 64 in flight, calls/s`,
        transport === "unix" ? 80 : 45,
        transport,
        "unary",
        64,
        64,
      ),
    ),
    latencyOverNet("unix", 1.1),
    latencyOverNet("fifo", 1),
    overGrpc("unix: unary, 64 KiB, 64 in flight, calls/s", 8, "unix", "unary", 64 * 1024, 64),
    overGrpc("unix: unary, 1 MiB, 16 in flight, calls/s", 6, "unix", "unary", MIB, 16),
    overGrpc("unix: stream of 64 B, messages/s", 60, "unix", "serverStreaming", 64, 1),
    overGrpc("tls: unary, 64 B, 64 in flight, calls/s", 10, "tls", "unary", 64, 64),
    overGrpc("udp: unary, 64 B, 64 in flight, calls/s", 20, "udp", "unary", 64, 64),
    overGrpc("udp: unary, 1 MiB, 16 in flight, calls/s", 3, "udp", "unary", MIB, 16),
    overGrpc("udp with a secret: unary, 64 B, 64 in flight, calls/s", 8, "udp-secret", "unary", 64, 64),
    overGrpc("mq: unary, 64 B, 64 in flight, calls/s", 20, "mq", "unary", 64, 64),
    overGrpc("sysvmq: unary, 64 B, 64 in flight, calls/s", 12, "sysvmq", "unary", 64, 64),
    latencyUnderGrpc("shm: unary, 64 B, 1 in flight", 150, "shm"),
    overGrpc("shm: unary, 64 B, 64 in flight, calls/s", 200, "shm", "unary", 64, 64),
    overGrpc("shm without polling: unary, 64 B, 64 in flight, calls/s", 80, "shm-nopoll", "unary", 64, 64),
    overGrpc("shm: unary, 64 KiB, 64 in flight, calls/s", 18, "shm", "unary", 64 * 1024, 64),
    overGrpc("shm: unary, 1 MiB, 16 in flight, calls/s", 20, "shm", "unary", MIB, 16),
    bar(
      "shm: stream of 64 B, messages/s, over grpc-js on unix",
      "at least 150x",
      ratio(
        row("sluice", "shm", "serverStreaming", 64, 1),
        row("grpc-js", "unix", "serverStreaming", 64, 1),
        (row) => row.callsPerSecond,
      ),
      (value) => ({ measured: `${value.toFixed(1)}x`, met: value >= 150 }),
    ),
    bar(
      "shm: raw frames of 64 B, ping-pong, p50 against the polled ring in C++",
      `at most ${maxRingSlowdown}x`,
      ratio(
        row("sluice", "shm-frames", "echo", 64, 1),
        row("c++", "ring-polled", "echo", 64, 1),
        (row) => row.p50Us,
      ),
      (value) => ({ measured: `${value.toFixed(1)}x`, met: value <= maxRingSlowdown }),
    ),
    bar(
      "shm: unary, 64 B, 1 in flight, p50 against the polled ring in C++",
      "at most 10x",
      ratio(
        row("sluice", "shm", "unary", 64, 1),
        row("c++", "ring-polled", "echo", 64, 1),
        (row) => row.p50Us,
      ),
      (value) => ({ measured: `${value.toFixed(1)}x`, met: value <= 10 }),
    ),
    overPeers("shm: unary, 64 B, 64 in flight, calls/s", 20, "shm", 64, 64),
    overPeers("unix: unary, 64 B, 64 in flight, calls/s", 8, "unix", 64, 64),
    ...["unix", "pipe"].flatMap((transport) => [
      ofLimit(transport, transport, 60, 64 * 1024, 64),
      ofLimit(transport, transport, 60, MIB, 16),
    ]),
    ofLimit("shm", "ring-polled", 20, MIB, 16),
    ofLimit("shm-lent", "ring-polled", 40, MIB, 16),
    aheadBar(result),
    ...tailBars(result),
    ...result.connections
      .filter(({ implementation, connections }) => implementation === "sluice" && connections === 1000)
      .map(({ transport, costPercent }) => ({
        what: `${transport}: calls/s over 1,000 connections, of those over one`,
        goal: "at least 70 %",
        measured: `${(100 - costPercent).toFixed(0)} %`,
        met: costPercent <= 30,
      })),
    latencyUnderGrpc("shm: synchronous call, 64 B", 150, "shm-sync"),
    ...(
      [
        ["deadline", "a deadline"],
        ["metadata", "metadata of 5 keys"],
        ["signal", "one shared AbortSignal"],
      ] satisfies [CallOption, string][]
    ).map(([option, what]) =>
      bar(
        `${what} on every call, cost in calls/s`,
        `under ${MAX_OPTION_COST_PERCENT} %`,
        result.callOptions.find((row) => row.option === option),
        ({ costPercent }) => ({
          measured: `${costPercent.toFixed(1)} %`,
          met: costPercent < MAX_OPTION_COST_PERCENT,
        }),
      ),
    ),
    bar(
      "unix: 10,000 idle connections, PSS of the server",
      `under ${MAX_IDLE_PSS_BYTES / MIB} MiB`,
      result.idle.find(isTenThousand),
      ({ pssBytes }) => ({
        measured: `${Math.round(pssBytes / MIB)} MiB`,
        met: pssBytes < MAX_IDLE_PSS_BYTES,
      }),
    ),
    bar(
      "unix: 10,000 idle connections, CPU of the server",
      "none",
      result.idle.find(isTenThousand),
      ({ cpuMs, watchedMs }) => ({
        measured: `${cpuMs} ms in ${(watchedMs / 1000).toFixed(1)} s`,
        met: (cpuMs / watchedMs) * 100 < NO_CPU_PERCENT,
      }),
    ),
    ...pollingBars(result),
    ...allocationBars(result),
  ];
  return all.filter((bar) => bar !== undefined);
}

/** The fastest unary calls of a peer that `counts`. */
function bestPeer(
  result: BenchResult,
  bytes: number,
  inFlight: number,
  counts: (row: Row) => boolean = () => true,
): Row | undefined {
  return result.rows
    .filter((row) => row.kind === "unary" && row.implementation !== "sluice")
    .filter((row) => row.bytes === bytes && row.inFlight === inFlight && counts(row))
    .toSorted((a, b) => b.callsPerSecond - a.callsPerSecond)
    .at(0);
}

/** Sluice's asynchronous calls on each transport, size and number in flight, where a peer was measured at the same. */
function aheadBar(result: BenchResult): Bar | undefined {
  const behind: string[] = [];
  let compared = 0;
  for (const row of result.rows) {
    if (row.implementation !== "sluice" || row.kind !== "unary") continue;
    if (["shm-sync", "shm-lent", "mq-large"].includes(row.transport)) continue;
    const best = bestPeer(
      result,
      row.bytes,
      row.inFlight,
      ({ implementation }) => implementation !== "synckit",
    );
    if (best === undefined) continue;
    compared++;
    if (best.callsPerSecond >= row.callsPerSecond)
      behind.push(`${row.transport}/${row.bytes}/${row.inFlight}`);
  }
  if (compared === 0) return undefined;
  return {
    what: "every transport, at every size and number in flight, calls/s",
    goal: "ahead of every peer",
    measured:
      behind.length === 0
        ? `in ${compared} of ${compared}`
        : `behind in ${behind.length} of ${compared}: ${behind.slice(0, MAX_NAMED).join(", ")}${behind.length > MAX_NAMED ? ", ..." : ""}`,
    met: behind.length === 0,
  };
}

/** The longest tail of the rings, and of all other transports. */
function tailBars(result: BenchResult): (Bar | undefined)[] {
  const tails = result.rows
    .filter(({ implementation, kind }) => implementation === "sluice" && kind === "unary")
    .filter(({ bytes, inFlight }) => bytes === 64 && inFlight === 64)
    .map(({ transport, p50Us, p99Us }) => ({ transport, tail: p99Us / p50Us }))
    .toSorted((a, b) => b.tail - a.tail);
  const longest = (what: string, goal: number, counts: (transport: string) => boolean) =>
    bar(
      `${what}: unary, 64 B, 64 in flight, p99 against p50`,
      `at most ${goal}x`,
      tails.find(({ transport }) => counts(transport)),
      ({ transport, tail }) => ({ measured: `${tail.toFixed(1)}x (${transport})`, met: tail <= goal }),
    );
  // What auto takes where the addon is.
  const isRing = (transport: string) => transport.startsWith("shm") || transport === "auto";
  return [longest("shm", 8, isRing), longest("every other transport", 4, (transport) => !isRing(transport))];
}

function pollingBars({ polling, idle }: BenchResult): (Bar | undefined)[] {
  const polled = polling.find(({ transport }) => transport === "shm");
  const unpolled = polling.find(({ transport }) => transport === "shm-nopoll");
  const atMost = (value: number, goal: number, unit: string, digits: number) => ({
    measured: `${value.toFixed(digits)} ${unit}`,
    met: value < goal,
  });
  return [
    bar("shm: one call a millisecond, CPU of both processes", "under 12 %", polled, ({ paced }) =>
      atMost(paced.find(({ gapMs }) => gapMs === 1)!.cpuPercent, 12, "%", 1),
    ),
    bar("shm: idle, CPU of both processes", "under 0.2 %", polled, ({ idleCpuPercent }) =>
      atMost(idleCpuPercent, 0.2 + Number.EPSILON, "%", 2),
    ),
    bar(
      "shm: both processes on one CPU, p50 against no polling",
      "no slower",
      ratio(polled, unpolled, ({ sameCpuP50Us }) => sameCpuP50Us),
      (value) => ({ measured: `${value.toFixed(2)}x`, met: value <= 1 }),
    ),
    bar("shm: a 10 ms timer beside 64 calls in flight", "within 13 ms", polled, ({ timerMaxMs }) =>
      atMost(timerMaxMs, 13, "ms at worst", 1),
    ),
    bar(
      "shm: memory of an idle connection, both processes",
      "under 100 KiB",
      idle.find(({ transport, connections }) => transport === "shm" && connections >= 100),
      ({ emptyPssBytes, pssBytes, clientsPssBytes, connections }) =>
        atMost((pssBytes - emptyPssBytes + clientsPssBytes) / connections / 1024, 100, "KiB", 1),
    ),
  ];
}

function allocationBars({ allocation }: BenchResult): Bar[] {
  return allocation
    .filter(({ implementation }) => implementation === "sluice")
    .map(({ transport, client, server }) => {
      const bytes = client.libraryBytes + server.libraryBytes;
      return {
        what: `${transport}: heap that the library allocates for a unary call, both processes`,
        goal: `under ${MAX_ALLOCATED_BYTES} B`,
        measured: `${Math.round(bytes)} B`,
        met: bytes < MAX_ALLOCATED_BYTES,
      };
    });
}

function bar<T>(
  what: string,
  goal: string,
  found: T | undefined,
  judge: (found: T) => { measured: string; met: boolean },
): Bar | undefined {
  return found === undefined ? undefined : { what, goal, ...judge(found) };
}

function ratio<T>(row: T | undefined, base: T | undefined, figure: (row: T) => number): number | undefined {
  return row === undefined || base === undefined ? undefined : figure(row) / figure(base);
}

function isTenThousand({ implementation, transport, connections }: BenchResult["idle"][number]): boolean {
  return implementation === "sluice" && transport === "unix" && connections === 10_000;
}
