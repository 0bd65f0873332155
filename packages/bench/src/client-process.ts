/**
 * Loads one server. Arguments: implementation, transport, address (or directory, for a client that brings its server) and
 * the number of connections.
 */
import { answerDriver } from "./bench-process.js";
import { sampleHeap, type HeapRequest } from "./heap-sampling.js";
import type { HeldRequest, MemoryRequest } from "./held.js";
import { runHeld } from "./holding.js";
import type { BenchClient } from "./implementation.js";
import { findImplementation } from "./implementations/index.js";
import { runSlice, verify, type Timing } from "./load.js";
import { runPaced, runTimer } from "./pacing.js";
import type { PacedRequest, TimerRequest } from "./polling.js";
import { takePlace } from "./placement.js";
import type { Scenario } from "./scenarios.js";
import type { StartUp, StartUpRequest } from "./start-up.js";
import { usedBytes } from "./usage.js";

/** Time a slice; or open more connections; or, with neither, check that every one answers. */
export interface ClientRequest {
  readonly scenario: Scenario;
  readonly timing?: Timing;
  readonly connections?: number;
}

/** More would overflow a server's queue of connections not yet accepted. */
const CONNECTING_AT_ONCE = 64;

const [name, transport, address, connections] = process.argv.slice(2) as [string, string, string, string];
const clients: BenchClient[] = [];

takePlace("client");
let connect: () => Promise<BenchClient>;
let loadMs: number;

async function start(): Promise<void> {
  const began = performance.now();
  const implementation = await findImplementation(name).load();
  loadMs = performance.now() - began;
  connect = () => implementation.connect(transport, address);
  await connectMore(Number(connections));
}

async function connectMore(count: number): Promise<void> {
  for (let missing = count; missing > 0; missing -= CONNECTING_AT_ONCE) {
    const connecting = Array.from({ length: Math.min(missing, CONNECTING_AT_ONCE) }, connect);
    clients.push(...(await Promise.all(connecting)));
  }
}

async function makeFirstCall(): Promise<StartUp> {
  const began = performance.now();
  await connectMore(1);
  await clients[0].unary()(new Uint8Array(64));
  return { loadMs, firstCallMs: performance.now() - began };
}

await answerDriver(
  start,
  async (
    request:
      | ClientRequest
      | PacedRequest
      | TimerRequest
      | HeldRequest
      | MemoryRequest
      | HeapRequest
      | StartUpRequest,
  ) => {
    if ("paced" in request) return runPaced(clients[0], request);
    if ("timer" in request) return runTimer(clients[0], request);
    if ("held" in request) return runHeld(clients, request);
    if ("memory" in request) return usedBytes();
    if ("heap" in request) return sampleHeap(request);
    if ("startUp" in request) return makeFirstCall();
    const { scenario, timing, connections: more } = request;
    if (timing !== undefined) return runSlice({ clients, connect }, scenario, timing);
    if (more !== undefined) return connectMore(more);
    for (const client of clients) await verify(client, scenario);
  },
  async () => {
    await Promise.all(clients.map((client) => client.close()));
  },
);
