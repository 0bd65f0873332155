/** Loads one server. Argument: implementation. */
import { answerDriver, leaveSignalsToDriver } from "./bench-process.js";
import { sampleHeap, type HeapRequest } from "./heap-sampling.js";
import type { HeldRequest, MemoryRequest } from "./held.js";
import { runHeld } from "./holding.js";
import type { BenchClient, Implementation } from "./implementation.js";
import { findImplementation } from "./implementations/index.js";
import { runSlice, verify, type Connections, type Timing } from "./load.js";
import { runPaced, runTimer } from "./pacing.js";
import type { PacedRequest, TimerRequest } from "./polling.js";
import { takePlace } from "./placement.js";
import type { Scenario } from "./scenarios.js";
import type { StartUp, StartUpRequest } from "./start-up.js";
import { usedBytes } from "./usage.js";

/** Time a slice; or, without a timing, check that every connection of the scenario's transport answers. */
export interface ClientRequest {
  readonly scenario: Scenario;
  readonly timing?: Timing;
}

/** Open more connections (perhaps none yet) to the server at `address`, or with it, to one in a directory. */
export interface ConnectRequest {
  readonly connect: { readonly transport: string; readonly address: string; readonly connections: number };
}

/** More would overflow a server's queue of connections not yet accepted. */
const CONNECTING_AT_ONCE = 64;

/** What this process has of one transport. */
interface Opened extends Connections {
  readonly clients: BenchClient[];
}

const [name] = process.argv.slice(2) as [string];
const byTransport = new Map<string, Opened>();

leaveSignalsToDriver();
takePlace("client");
let implementation: Implementation;
let loadMs: number;

async function start(): Promise<void> {
  const began = performance.now();
  implementation = await findImplementation(name).load();
  loadMs = performance.now() - began;
}

function openedOver(transport: string, address: string): Opened {
  let opened = byTransport.get(transport);
  if (opened === undefined) {
    opened = { clients: [], connect: () => implementation.connect(transport, address) };
    byTransport.set(transport, opened);
  }
  return opened;
}

async function connectMore({ clients, connect }: Opened, count: number): Promise<void> {
  for (let missing = count; missing > 0; missing -= CONNECTING_AT_ONCE) {
    const connecting = Array.from({ length: Math.min(missing, CONNECTING_AT_ONCE) }, connect);
    clients.push(...(await Promise.all(connecting)));
  }
}

async function makeFirstCall(opened: Opened): Promise<StartUp> {
  const began = performance.now();
  await connectMore(opened, 1);
  await opened.clients[0].unary()(new Uint8Array(64));
  return { loadMs, firstCallMs: performance.now() - began };
}

await answerDriver(
  start,
  async (
    request:
      | ClientRequest
      | ConnectRequest
      | PacedRequest
      | TimerRequest
      | HeldRequest
      | MemoryRequest
      | HeapRequest
      | StartUpRequest,
  ) => {
    if ("connect" in request) {
      const { transport, address, connections } = request.connect;
      return connectMore(openedOver(transport, address), connections);
    }
    if ("memory" in request) return usedBytes();
    if ("heap" in request) return sampleHeap(request);
    if ("startUp" in request) return makeFirstCall(byTransport.get(request.startUp.transport)!);
    const connections = byTransport.get(request.scenario.transport)!;
    const { clients } = connections;
    if ("paced" in request) return runPaced(clients[0], request);
    if ("timer" in request) return runTimer(clients[0], request);
    if ("held" in request) return runHeld(clients, request);
    const { scenario, timing } = request;
    if (timing !== undefined) return runSlice(connections, scenario, timing);
    for (const client of clients) await verify(client, scenario);
  },
  async () => {
    const clients = [...byTransport.values()].flatMap(({ clients }) => clients);
    await Promise.all(clients.map((client) => client.close()));
  },
);
