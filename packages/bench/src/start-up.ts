/** How long a process that starts takes to its first answer: to load the library, then to connect and make a call. */
import { Endpoints } from "./endpoints.js";
import type { Placement } from "./placement.js";
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

/** Start a client process of each, again and again in turns. Whose server does not start is given to `skip`. */
export async function measureStartUp(
  wanted: readonly (readonly [implementation: string, transport: string])[],
  placement: Placement | undefined,
  skip: (implementation: string, transport: string, error: unknown) => void,
  progress: (text: string) => void,
): Promise<StartUpResult[]> {
  const options = { placement };
  const measured: { implementation: string; transport: string; server: Endpoints; starts: StartUp[] }[] = [];
  try {
    for (const [implementation, transport] of wanted) {
      try {
        const server = await Endpoints.open(implementation, transport, options);
        measured.push({ implementation, transport, server, starts: [] });
      } catch (error) {
        skip(implementation, transport, error);
      }
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const { implementation, transport, server, starts } of measured) {
        progress(`start-up ${round + 1} of ${ROUNDS}: ${implementation} on ${transport}`);
        const client = await server.addClient(transport, 0, options);
        starts.push(
          await client.ask<StartUp>({ startUp: { transport } } satisfies StartUpRequest, TIMEOUT_MS),
        );
        await client.stop();
      }
    }
    return measured.map(({ implementation, transport, starts }) => ({
      implementation,
      transport,
      loadMs: median(starts.map(({ loadMs }) => loadMs)),
      firstCallMs: median(starts.map(({ firstCallMs }) => firstCallMs)),
      rounds: starts.length,
    }));
  } finally {
    await Promise.all(measured.map(({ server }) => server.close()));
  }
}
