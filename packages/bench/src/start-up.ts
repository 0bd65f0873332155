/** How long a process that starts takes to its first answer: to load the library, then to connect and make a call. */
import { Endpoints } from "./endpoints.js";
import type { Placement } from "./placement.js";
import type { Skipped } from "./result.js";
import { measureEach } from "./skipping.js";
import { median } from "./statistics.js";

export interface StartUpResult {
  readonly implementation: string;
  readonly transport: string;
  /** Importing the library and the code that calls it, in a process that has loaded nothing else of note. */
  readonly loadMs: number;
  /** From there to the answer of the first call. */
  readonly firstCallMs: number;
  readonly rounds: number;
}

/** What a client process that has no connection yet is asked for; it answers with a `StartUp`. */
export interface StartUpRequest {
  readonly startUp: { readonly transport: string };
}
export type StartUp = Pick<StartUpResult, "loadMs" | "firstCallMs">;

const ROUNDS = 5;
const TIMEOUT_MS = 60_000;

/** Start a client process of each, again and again in turns. What fails is added to `skipped`. */
export async function measureStartUp(
  wanted: readonly (readonly [implementation: string, transport: string])[],
  placement: Placement | undefined,
  skipped: Skipped[],
  progress: (text: string) => void,
): Promise<StartUpResult[]> {
  const options = { placement };
  const started = await measureEach(
    wanted,
    async ([implementation, transport]) => {
      const server = await Endpoints.open(implementation, transport, options);
      return [implementation, transport, server, [] as StartUp[]] as const;
    },
    skipped,
  );
  try {
    let running = started;
    for (let round = 0; round < ROUNDS; round++) {
      running = await measureEach(
        running,
        async (subject) => {
          const [implementation, transport, server, starts] = subject;
          progress(`start-up ${round + 1} of ${ROUNDS}: ${implementation} on ${transport}`);
          const client = await server.addClient(transport, 0, options);
          try {
            const request: StartUpRequest = { startUp: { transport } };
            starts.push(await client.ask<StartUp>(request, TIMEOUT_MS));
          } finally {
            await client.stop();
          }
          return subject;
        },
        skipped,
      );
    }
    return running.map(([implementation, transport, , starts]) => ({
      implementation,
      transport,
      loadMs: median(starts.map(({ loadMs }) => loadMs)),
      firstCallMs: median(starts.map(({ firstCallMs }) => firstCallMs)),
      rounds: starts.length,
    }));
  } finally {
    await Promise.all(started.map(([, , server]) => server.close()));
  }
}
