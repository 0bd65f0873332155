/** What is measured: which implementation does what over which transport, with how much, how many at a time. */

/** `echo` is raw bytes without calls. */
export type Kind = "unary" | "serverStreaming" | "echo";

/** What every call of a scenario carries beside its message. */
export type CallOption = "deadline" | "metadata" | "signal";

export interface Scenario {
  readonly implementation: string;
  readonly transport: string;
  readonly kind: Kind;
  /** Size of each message's body. */
  readonly bytes: number;
  /** Calls (for streams: streams) under way at any time. */
  readonly inFlight: number;
  readonly option?: CallOption;
}

const KIB = 1024;
const MIB = 1024 * KIB;

/** unix comes last: the call options are compared with it, and what is compared should be measured close together. */
const SLUICE_TRANSPORTS = [
  "memory",
  "pipe",
  "fifo",
  "stdio",
  "mq",
  "mmap",
  "shm-nopoll",
  "shm",
  "tcp",
  "unix",
];
const CPP_TRANSPORTS = ["ring-polled", "ring-sleeping", "unix", "pipe"];
const CALL_OPTIONS: readonly CallOption[] = ["deadline", "metadata", "signal"];

/** Such as `sluice/unix/unary/64/1`: what `--only` and `--profile` select by. */
export function scenarioId({ implementation, transport, kind, bytes, inFlight, option }: Scenario): string {
  const id = [implementation, transport, kind, bytes, inFlight];
  if (option !== undefined) id.push(option);
  return id.join("/");
}

/** Those whose id contains one of `patterns`, and what those with a call option are compared with. */
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

/** The same without a call option. */
export function plain({ implementation, transport, kind, bytes, inFlight }: Scenario): Scenario {
  return { implementation, transport, kind, bytes, inFlight };
}

/** What `--quick` measures: small calls on everything, large ones and streams where there is something to compare. */
export function quickScenarios(): Scenario[] {
  return [
    ...SLUICE_TRANSPORTS.flatMap((transport) => unary("sluice", transport, [64], [1, 64])),
    ...callOptions(),
    ...unary("sluice", "shm-sync", [64], [1]),
    ...echo("sluice", "shm-frames", [64], [1, 64]),
    ...unary("grpc-js", "unix", [64], [1, 64]),
    ...echo("node:net", "unix", [64], [1, 64]),
    ...CPP_TRANSPORTS.flatMap((transport) => echo("c++", transport, [64], [1, 64])),
    ...streaming(),
    ...["unix", "tcp", "shm"].flatMap((transport) => large("sluice", transport)),
    ...large("grpc-js", "unix"),
    ...echo("node:net", "unix", [64 * KIB], [64]),
  ];
}

/** What is measured when nothing else is asked for: every transport at every size. */
export function allScenarios(): Scenario[] {
  const sizes = (implementation: string, transport: string, make: typeof unary) => [
    ...make(implementation, transport, [64, KIB, 64 * KIB], [1, 16, 64]),
    ...make(implementation, transport, [MIB], [1, 16]),
  ];
  return [
    ...SLUICE_TRANSPORTS.flatMap((transport) => sizes("sluice", transport, unary)),
    ...callOptions(),
    ...unary("sluice", "shm-sync", [64, KIB, 64 * KIB, MIB], [1]),
    ...echo("sluice", "shm-frames", [64, KIB], [1, 16, 64]),
    ...sizes("grpc-js", "unix", unary),
    ...sizes("node:net", "unix", echo),
    ...CPP_TRANSPORTS.flatMap((transport) => sizes("c++", transport, echo)),
    ...streaming(),
  ];
}

function large(implementation: string, transport: string): Scenario[] {
  return [
    ...unary(implementation, transport, [64 * KIB], [1, 64]),
    ...unary(implementation, transport, [MIB], [1, 16]),
  ];
}

function callOptions(): Scenario[] {
  const base: Scenario = {
    implementation: "sluice",
    transport: "unix",
    kind: "unary",
    bytes: 64,
    inFlight: 64,
  };
  return CALL_OPTIONS.map((option) => ({ ...base, option }));
}

function streaming(): Scenario[] {
  const carried = [
    ["sluice", "unix"],
    ["sluice", "shm"],
    ["grpc-js", "unix"],
  ] as const;
  return carried.map(([implementation, transport]) => ({
    implementation,
    transport,
    kind: "serverStreaming",
    bytes: 64,
    inFlight: 1,
  }));
}

function unary(implementation: string, transport: string, sizes: number[], inFlights: number[]): Scenario[] {
  return cross(implementation, transport, "unary", sizes, inFlights);
}

function echo(implementation: string, transport: string, sizes: number[], inFlights: number[]): Scenario[] {
  return cross(implementation, transport, "echo", sizes, inFlights);
}

function cross(
  implementation: string,
  transport: string,
  kind: Kind,
  sizes: number[],
  inFlights: number[],
): Scenario[] {
  return sizes.flatMap((bytes) =>
    inFlights.map((inFlight) => ({ implementation, transport, kind, bytes, inFlight })),
  );
}
