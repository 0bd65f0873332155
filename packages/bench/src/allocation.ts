/** How much memory a call allocates at each end, and whose code allocates it: by V8's sampling of the heap. */
import { add, describe, sorted, table } from "./call-frames.js";
import { Endpoints } from "./endpoints.js";
import type { HeapNode, HeapRequest } from "./heap-sampling.js";
import type { Placement } from "./placement.js";
import { scenarioId, type Scenario } from "./scenarios.js";

/** Bytes on V8's heap that one call allocates in one process. */
export interface Allocated {
  /** By the library, and by Node for it. */
  readonly libraryBytes: number;
  /** By generated code and its runtime, which make messages and the bytes in them. */
  readonly messageBytes: number;
  /** By who makes the calls, or handles them. */
  readonly applicationBytes: number;
}

export interface AllocationResult {
  readonly implementation: string;
  readonly transport: string;
  readonly bytes: number;
  readonly inFlight: number;
  /** How many these are the means of. */
  readonly calls: number;
  readonly client: Allocated;
  readonly server: Allocated;
}

/** Bytes, by whose code allocated them and by function. */
export interface Allocations {
  readonly owners: ReadonlyMap<Owner, number>;
  readonly functions: ReadonlyMap<string, number>;
}

type Owner = "library" | "messages" | "application";

const WARM_UP_MS = 500;
const SAMPLED_MS = 500;
const TIMEOUT_MS = 60_000;
const SHOWN = 20;
/**
 * V8 puts what an inlined function allocates down to the one that it is inlined in, whose code that may not be. Without
 * inlining a call allocates a few per cent more: objects that do not leave it are not made otherwise.
 */
const NODE_OPTIONS = ["--no-turbo-inlining", "--no-maglev-inlining"];

/** What calls of 64 B with 64 in flight allocate. */
export async function measureAllocation(
  implementation: string,
  transport: string,
  placement: Placement | undefined,
  progress: (text: string) => void,
): Promise<AllocationResult> {
  const scenario: Scenario = { implementation, transport, kind: "unary", bytes: 64, inFlight: 64 };
  const { calls, client, server } = await sample(scenario, placement, progress);
  const allocated = ({ owners }: Allocations): Allocated => ({
    libraryBytes: (owners.get("library") ?? 0) / calls,
    messageBytes: (owners.get("messages") ?? 0) / calls,
    applicationBytes: (owners.get("application") ?? 0) / calls,
  });
  const { bytes, inFlight } = scenario;
  return {
    ...{ implementation, transport, bytes, inFlight, calls },
    client: allocated(client),
    server: allocated(server!),
  };
}

/** Tables of whose code allocates in calls of `scenario`, and in which functions. */
export async function allocationReport(
  scenario: Scenario,
  placement: Placement | undefined,
  progress: (text: string) => void,
): Promise<string> {
  const { calls, ...ends } = await sample(scenario, placement, progress);
  const reports = Object.entries(ends).map(([role, { owners, functions }]) => {
    const total = [...owners.values()].reduce((sum, bytes) => sum + bytes, 0);
    const figures = (bytes: number) => [(bytes / calls).toFixed(0), ((bytes / total) * 100).toFixed(1)];
    return [
      `${role}: ${calls} calls (of streams: messages), ${(total / calls).toFixed(0)} bytes of heap allocated by each`,
      table(["bytes a call", "%", "whose"], sorted(owners), figures),
      table(["bytes a call", "%", "function"], sorted(functions).slice(0, SHOWN), figures),
      "",
    ].join("\n");
  });
  return reports.join("\n");
}

interface Sampled {
  readonly calls: number;
  readonly client: Allocations;
  /** None where the client brings the server: in its own process, it is counted there. */
  readonly server?: Allocations;
}

async function sample(
  scenario: Scenario,
  placement: Placement | undefined,
  progress: (text: string) => void,
): Promise<Sampled> {
  const options = { placement, nodeOptions: NODE_OPTIONS };
  progress(`sampling what is allocated: ${scenarioId(scenario)}`);
  const endpoints = await Endpoints.open(scenario.implementation, scenario.transport, options);
  try {
    const client = await endpoints.addClient(scenario.transport, scenario.connections, options);
    const { server } = endpoints;
    await endpoints.measure(scenario, { leadInMs: 0, sliceMs: WARM_UP_MS });
    for (const end of [client, server]) {
      await end?.ask<void>({ heap: "sample" } satisfies HeapRequest, TIMEOUT_MS);
    }
    const { calls } = await endpoints.measure(scenario, { leadInMs: 0, sliceMs: SAMPLED_MS });
    const report: HeapRequest = { heap: "report" };
    return {
      calls,
      client: allocations(await client.ask<HeapNode>(report, TIMEOUT_MS)),
      ...(server && { server: allocations(await server.ask<HeapNode>(report, TIMEOUT_MS)) }),
    };
  } finally {
    await endpoints.close();
  }
}

/** The first that fits a function's place; what fits none is the library's. */
const OWNERS: readonly (readonly [owner: Owner, path: RegExp])[] = [
  ["messages", /\/core\/dist\/protobuf\/|\/node_modules\/(@bufbuild\/protobuf|protobufjs)\//],
  ["messages", /\/packages\/bench\/dist\/(gen\/|implementations\/protobuf\.js)/],
  ["application", /\/packages\/bench\//],
  ["library", /^(?!node:|$)/],
];

/** What is allocated below `head`: by Node and by V8's builtins for whoever calls them, or else for the library. */
export function allocations(head: HeapNode): Allocations {
  const owners = new Map<Owner, number>();
  const functions = new Map<string, number>();
  const visit = ({ callFrame, selfSize, children }: HeapNode, caller: Owner, path?: string): void => {
    const own = OWNERS.find(([, place]) => place.test(callFrame.url));
    const owner = own?.[0] ?? caller;
    const name =
      own === undefined && path !== undefined ? `${callFrame.functionName} < ${path}` : describe(callFrame);
    if (selfSize > 0) {
      add(owners, owner, selfSize);
      add(functions, name, selfSize);
    }
    for (const child of children) visit(child, owner, name);
  };
  visit(head, "library");
  return { owners, functions };
}
