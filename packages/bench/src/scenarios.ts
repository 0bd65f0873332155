/** What is measured: which implementation does what over which transport, with how much, how many at a time. */
import { findImplementation } from "./implementations/index.js";

/** `echo` is raw bytes without calls, `connect` a connection set up for one call. */
export type Kind = "unary" | "serverStreaming" | "clientStreaming" | "bidiStreaming" | "echo" | "connect";

/** What every call of a scenario carries beside its message. */
export type CallOption = "deadline" | "metadata" | "signal";

export interface Scenario {
  readonly implementation: string;
  readonly transport: string;
  readonly kind: Kind;
  /** Size of each message's body. */
  readonly bytes: number;
  /** Calls (of a bidirectional stream: its messages; of other streams: streams) under way at any time. */
  readonly inFlight: number;
  readonly option?: CallOption;
  /** Over how many connections of the client the calls are spread. Default: one. */
  readonly connections?: number;
  /** Left to the kernel to place, where the others' processes are pinned to CPUs. */
  readonly unpinned?: true;
}

const KIB = 1024;
const MIB = 1024 * KIB;
/** More would be a measure of the machine's memory. */
const MAX_BYTES_IN_FLIGHT = 64 * MIB;

/** unix comes last: the call options are compared with it, and what is compared should be measured close together. */
const SLUICE_TRANSPORTS = [
  "memory",
  "pipe",
  "fifo",
  "stdio",
  "mq",
  "sysvmq",
  "mmap",
  "shm-nopoll",
  "shm",
  "udp-secret",
  "udp",
  "tls",
  "tcp",
  "unix-nopoll",
  "unix",
];
const CPP_ALL = Object.keys(findImplementation("c++").transports);
/** One message under way on each of many rings or sockets: what is compared with many connections. */
const CPP_EACH = CPP_ALL.filter((transport) => transport.endsWith("-each"));
const CPP_TRANSPORTS = CPP_ALL.filter((transport) => !CPP_EACH.includes(transport));
/** What they do with memory that is kept for a while matters to large messages alone. */
const CPP_SMALL = CPP_TRANSPORTS.filter((transport) => !transport.endsWith("-kept"));
/** Who has calls, over its best local transport. */
const QUICK_PEERS = [
  ["grpc-js", "unix"],
  ["zeromq", "ipc"],
  ["capnweb", "websocket"],
  ["vscode-jsonrpc", "unix"],
] as const;
const PEERS = [...QUICK_PEERS, ["nice-grpc", "unix"], ["connect-node", "unix"]] as const;
/** Who has none. */
const RAW_PEERS = [
  ["process.send", "json"],
  ["process.send", "advanced"],
  ["MessagePort", "worker"],
  ["node:net", "unix"],
] as const;
/** Where all kinds of call are measured, also those that need a matrix or a minute. */
const COMPARED = [
  ["sluice", "shm"],
  ["sluice", "unix"],
  ["sluice", "tcp"],
  ["grpc-js", "unix"],
] as const;
/** Who is weighed with calls in flight, and timed from its start: who has calls. */
export const HELD = [...COMPARED, ["nice-grpc", "unix"], ["connect-node", "unix"]] as const;
/** Whose calls' allocations are sampled. */
export const ALLOCATING = [
  ["sluice", "shm"],
  ["sluice", "unix"],
  ["grpc-js", "unix"],
] as const;
export const STARTED = [...COMPARED, ...PEERS.slice(1)] as const;
const STREAMED = [...COMPARED, ["nice-grpc", "unix"], ["connect-node", "unix"]] as const;
const CONNECTED = [...COMPARED, ["sluice", "mmap"], ...PEERS.slice(1)] as const;
/** With them the largest messages, or the most calls in flight, take seconds for a slice. */
const SLOW: ReadonlySet<string> = new Set(["capnweb", "vscode-jsonrpc", "nice-grpc", "connect-node"]);
const STREAM_SIZES = [64, 64 * KIB];
const CONNECTIONS = [10, 100, 1000];
const CALL_OPTIONS: readonly CallOption[] = ["deadline", "metadata", "signal"];

/** Such as `sluice/unix/unary/64/1`: what `--only` and `--profile` select by. */
export function scenarioId(scenario: Scenario): string {
  const { implementation, transport, kind, bytes, inFlight, option, connections, unpinned } = scenario;
  const id = [implementation, transport, kind, bytes, inFlight];
  if (option !== undefined) id.push(option);
  if (connections !== undefined) id.push(`${connections}-connections`);
  if (unpinned) id.push("unpinned");
  return id.join("/");
}

/** Those whose id contains one of `patterns`, and the plain ones that the others are compared with. */
export function selectScenarios(scenarios: readonly Scenario[], patterns: readonly string[]): Scenario[] {
  const chosen = scenarios.filter((scenario) =>
    patterns.some((pattern) => scenarioId(scenario).includes(pattern)),
  );
  const wanted = new Set(chosen.flatMap((scenario) => [scenarioId(scenario), scenarioId(plain(scenario))]));
  return scenarios.filter((scenario) => wanted.has(scenarioId(scenario)));
}

/** The one with this id. Throws, naming all, if there is none. */
export function findScenario(scenarios: readonly Scenario[], id: string): Scenario {
  const found = scenarios.find((scenario) => scenarioId(scenario) === id);
  if (found !== undefined) return found;
  throw new Error(`no scenario is called "${id}"; there are:\n${scenarios.map(scenarioId).join("\n")}`);
}

export function isStream(kind: Kind): boolean {
  return kind === "serverStreaming" || kind === "clientStreaming" || kind === "bidiStreaming";
}

/** The same without a call option, on one connection, pinned. */
export function plain({ implementation, transport, kind, bytes, inFlight }: Scenario): Scenario {
  return { implementation, transport, kind, bytes, inFlight };
}

/** What `--quick` measures: small calls on everything, large ones and streams where there is something to compare. */
export function quickScenarios(): Scenario[] {
  return [
    ...SLUICE_TRANSPORTS.flatMap((transport) => cross("sluice", transport, "unary", [64], [1, 64])),
    ...callOptions(),
    ...cross("sluice", "shm-sync", "unary", [64], [1]),
    ...cross("sluice", "shm-frames", "echo", [64], [1, 64]),
    ...QUICK_PEERS.flatMap(([peer, transport]) => cross(peer, transport, "unary", [64], [1, 64])),
    ...cross("node:net", "unix", "echo", [64], [1, 64]),
    ...CPP_SMALL.flatMap((transport) => cross("c++", transport, "echo", [64], [1, 64])),
    ...COMPARED.flatMap(([implementation, transport]) => [
      ...cross(implementation, transport, "unary", [KIB, 64 * KIB], [1, 64]),
      ...cross(implementation, transport, "unary", [MIB], [1, 16]),
      ...streams(implementation, transport, [64]),
    ]),
    ...cross("sluice", "udp", "unary", [MIB], [16]),
  ];
}

/**
 * What is measured when nothing else is asked for: not what takes a peer seconds, nor all that is known from something else, so that
 * there is time to warm up the rest, and for five rounds.
 */
export function defaultScenarios(): Scenario[] {
  const few: Matrix = (implementation, transport, kind) => [
    ...cross(implementation, transport, kind, [64, KIB, 64 * KIB], [1, 64]),
    ...cross(implementation, transport, kind, [MIB], [1, 16]),
  ];
  return every({
    few,
    many: (implementation, transport, kind) => [
      ...cross(implementation, transport, kind, [64], [1, 16, 64]),
      ...cross(implementation, transport, kind, [KIB], [1, 64]),
      ...cross(implementation, transport, kind, [64 * KIB], [1, 16, 64]),
      ...cross(implementation, transport, kind, [MIB], [1, 16]),
    ],
    slow: (implementation, transport, kind) =>
      cross(implementation, transport, kind, [64, KIB, 64 * KIB], [1, 64]),
    limit: (implementation, transport, kind) => [
      ...(CPP_SMALL.includes(transport) ? cross(implementation, transport, kind, [64], [1, 64]) : []),
      ...cross(implementation, transport, kind, [64 * KIB], [64]),
      ...cross(implementation, transport, kind, [MIB], [16]),
    ],
    again: (implementation, transport, kind) => cross(implementation, transport, kind, [64], [1, 64]),
    slowStreams: [64],
    slowConnections: [1000],
  });
}

/** Every transport and every peer at every size, with every number of calls in flight. */
export function allScenarios(): Scenario[] {
  const all: Matrix = (implementation, transport, kind) =>
    cross(implementation, transport, kind, [64, KIB, 64 * KIB, MIB], [1, 16, 64, 1024]).filter(
      ({ bytes, inFlight }) => bytes * inFlight <= MAX_BYTES_IN_FLIGHT,
    );
  return every({
    few: all,
    many: all,
    slow: all,
    limit: all,
    again: all,
    slowStreams: STREAM_SIZES,
    slowConnections: CONNECTIONS,
  });
}

type Matrix = (implementation: string, transport: string, kind: Kind) => Scenario[];

/** How much of everything. */
interface Extent {
  /** On each transport. */
  readonly few: Matrix;
  /** Where there is something to compare with. */
  readonly many: Matrix;
  /** Of peers that take seconds for what takes others a fraction of one. */
  readonly slow: Matrix;
  /** For the limits. */
  readonly limit: Matrix;
  /** Of `auto`, which is one of the others. */
  readonly again: Matrix;
  /** Sizes of streamed messages, and over how many connections calls are spread, of slow peers. */
  readonly slowStreams: readonly number[];
  readonly slowConnections: readonly number[];
}

function every({ few, many, slow, limit, again, slowStreams, slowConnections }: Extent): Scenario[] {
  const isCompared = (name: string, on: string) =>
    COMPARED.some(([implementation, transport]) => implementation === name && transport === on);
  return [
    // By the fastest of the others: for that it need not be quick.
    ...again("sluice", "auto", "unary"),
    ...SLUICE_TRANSPORTS.flatMap((transport) =>
      (isCompared("sluice", transport) ? many : few)("sluice", transport, "unary"),
    ),
    ...callOptions(),
    ...cross("sluice", "shm-sync", "unary", [64, KIB, 64 * KIB, MIB], [1]),
    ...cross("sluice", "shm-frames", "echo", [64, KIB], [1, 16, 64]),
    ...cross("sluice", "shm-lent", "unary", [MIB], [1, 16]),
    ...cross("sluice", "mq-large", "unary", [64, 64 * KIB], [64]),
    ...cross("sluice", "mq-large", "unary", [MIB], [16]),
    ...PEERS.flatMap(([peer, transport]) => (SLOW.has(peer) ? slow : many)(peer, transport, "unary")),
    ...cross("synckit", "worker", "unary", [64, KIB, 64 * KIB, MIB], [1]),
    ...RAW_PEERS.flatMap(([peer, transport]) => (transport === "json" ? slow : few)(peer, transport, "echo")),
    ...cross("node:dgram", "udp", "echo", [64, KIB], [1, 16, 64]),
    ...CPP_TRANSPORTS.flatMap((transport) => limit("c++", transport, "echo")).filter(
      ({ transport, bytes }) => transport !== "udp" || bytes < 64 * KIB,
    ),
    ...["ring-polled", "unix", ...CPP_EACH].flatMap((transport) =>
      cross("c++", transport, "echo", [64], [1000]),
    ),
    ...STREAMED.flatMap(([implementation, transport]) =>
      streams(implementation, transport, SLOW.has(implementation) ? slowStreams : STREAM_SIZES),
    ),
    ...CONNECTED.flatMap(([implementation, transport]) =>
      cross(implementation, transport, "connect", [64], [1]),
    ),
    ...COMPARED.flatMap(([implementation, transport]) => [
      ...cross(implementation, transport, "unary", [64], [1000]),
      ...(implementation === "sluice" ? CONNECTIONS : slowConnections).map((connections) => ({
        ...{ implementation, transport, kind: "unary" as const, bytes: 64, inFlight: 1000 },
        connections,
      })),
    ]),
    ...[...COMPARED, ...QUICK_PEERS.slice(1)].flatMap(([implementation, transport]) =>
      cross(implementation, transport, "unary", [64], [1, 64]).map((scenario): Scenario => ({
        ...scenario,
        unpinned: true,
      })),
    ),
  ];
}

function callOptions(): Scenario[] {
  const [base] = cross("sluice", "unix", "unary", [64], [64]);
  return CALL_OPTIONS.map((option) => ({ ...base, option }));
}

function streams(implementation: string, transport: string, sizes: readonly number[]): Scenario[] {
  return [
    ...cross(implementation, transport, "serverStreaming", sizes, [1]),
    ...cross(implementation, transport, "clientStreaming", sizes, [1]),
    ...cross(implementation, transport, "bidiStreaming", sizes, [64]),
  ];
}

function cross(
  implementation: string,
  transport: string,
  kind: Kind,
  sizes: readonly number[],
  inFlights: readonly number[],
): Scenario[] {
  return sizes.flatMap((bytes) =>
    inFlights.map((inFlight) => ({ implementation, transport, kind, bytes, inFlight })),
  );
}
