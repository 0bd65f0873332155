/**
 * Loads one server. Arguments: implementation, transport, address (or directory, for a client that brings its server) and
 * the number of connections.
 */
import { answerDriver } from "./bench-process.js";
import type { BenchClient } from "./implementation.js";
import { loadImplementation } from "./implementations/index.js";
import { runSlice, verify, type Timing } from "./load.js";
import { runPaced, runTimer } from "./pacing.js";
import type { PacedRequest, TimerRequest } from "./polling.js";
import { takePlace } from "./placement.js";
import type { Scenario } from "./scenarios.js";

/** Time a slice on the first connection; or open more connections; or, with neither, check that every one answers. */
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

async function connectMore(count: number): Promise<void> {
  const implementation = await loadImplementation(name);
  for (let missing = count; missing > 0; missing -= CONNECTING_AT_ONCE) {
    const connecting = Array.from({ length: Math.min(missing, CONNECTING_AT_ONCE) }, () =>
      implementation.connect(transport, address),
    );
    clients.push(...(await Promise.all(connecting)));
  }
}

await answerDriver(
  () => connectMore(Number(connections)),
  async (request: ClientRequest | PacedRequest | TimerRequest) => {
    if ("paced" in request) return runPaced(clients[0], request);
    if ("timer" in request) return runTimer(clients[0], request);
    const { scenario, timing, connections: more } = request;
    if (timing !== undefined) return runSlice(clients[0], scenario, timing);
    if (more !== undefined) return connectMore(more);
    for (const client of clients) await verify(client, scenario);
  },
  async () => {
    await Promise.all(clients.map((client) => client.close()));
  },
);
