/** What calls in flight cost in memory: many that the server does not answer until it is told to. */
import type { BenchProcess } from "./bench-process.js";
import { Endpoints } from "./endpoints.js";
import type { Scenario } from "./scenarios.js";
import { pssBytes } from "./usage.js";

export interface HeldResult {
  readonly implementation: string;
  readonly transport: string;
  readonly calls: number;
  /** What V8 uses for each, after a collection, in the server's process and in the client's. */
  readonly serverBytesPerCall: number;
  readonly clientBytesPerCall: number;
  /** How much more of the machine's memory each process has (PSS) than without them, which is for V8 to decide. */
  readonly serverPssBytesPerCall: number;
  readonly clientPssBytesPerCall: number;
}

/** What a client process is asked for: to make so many calls that are held, or to have them answered. */
export interface HeldRequest {
  readonly scenario: Scenario;
  readonly held: { readonly calls: number } | "release";
}

/** Of a client or a server process: how many bytes V8 uses, after a collection. */
export interface MemoryRequest {
  readonly memory: true;
}

const CONNECTIONS = 8;
/** Below the limit of streams on a connection, in all. */
const CALLS = CONNECTIONS * 1000;
const TIMEOUT_MS = 60_000;

export async function measureHeld(
  implementation: string,
  transport: string,
  progress: (text: string) => void,
): Promise<HeldResult> {
  progress(`${implementation} on ${transport}: ${CALLS} calls in flight`);
  const call: Scenario = { implementation, transport, kind: "unary", bytes: 64, inFlight: 16 };
  const options = { nodeOptions: ["--expose-gc"] };
  const endpoints = await Endpoints.open(implementation, transport, options);
  try {
    const client = await endpoints.addClient(transport, CONNECTIONS, options);
    await endpoints.verify(call);
    const memory = async (end: BenchProcess) => {
      const used = await end.ask<number>({ memory: true } satisfies MemoryRequest, TIMEOUT_MS);
      return { used, pss: pssBytes(end.pid) };
    };
    const ofBoth = async () => ({ server: await memory(endpoints.server!), client: await memory(client) });
    const before = await ofBoth();
    await client.ask<void>({ scenario: call, held: { calls: CALLS } } satisfies HeldRequest, TIMEOUT_MS);
    const during = await ofBoth();
    await client.ask<void>({ scenario: call, held: "release" } satisfies HeldRequest, TIMEOUT_MS);
    return {
      implementation,
      transport,
      calls: CALLS,
      serverBytesPerCall: (during.server.used - before.server.used) / CALLS,
      clientBytesPerCall: (during.client.used - before.client.used) / CALLS,
      serverPssBytesPerCall: (during.server.pss - before.server.pss) / CALLS,
      clientPssBytesPerCall: (during.client.pss - before.client.pss) / CALLS,
    };
  } finally {
    await endpoints.close();
  }
}
