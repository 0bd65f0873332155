// Makes calls to `ring-caller.js ADDRESS async|sync` for as long as it may, with text that is not ASCII, over one connection
// after another: each until a call fails, which must be by an RpcError. Ends on SIGTERM, and prints as JSON how many calls
// succeeded and why the others did not.
import { connect, createSyncClient, RpcError } from "@sluice/node";
import { LenderDefinition, ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { pattern } from "../payload.js";

const [address, mode] = process.argv.slice(2);
const request = { index: 7, body: pattern(300), hold: "Ünïcödé, 日本語, Ελληνικά, 🎉 ".repeat(8) };
/** What travels in blocks, and is lent where that can be. */
const large = { ...request, body: pattern(150_000) };
const options = { timeoutMs: 250 };
const failures: Record<string, number> = {};
let calls = 0;
let stopped = false;
process.once("SIGTERM", () => (stopped = true));

/** What failed, with what differs from time to time taken out. */
function count(error: unknown): void {
  if (!(error instanceof RpcError)) throw error;
  const text = error.message
    .replace(/\d+/g, "N")
    .replace(/[^ -~]/g, "?")
    .slice(0, 200);
  failures[text] = (failures[text] ?? 0) + 1;
}

async function callUntilFailure(): Promise<void> {
  const channel = await connect(address!, { limits: { handshakeTimeoutMs: 1000 } });
  try {
    const client = channel.client(ProbeDefinition);
    const call = async () => {
      for (; !stopped; calls++) await client.echo(request, options);
    };
    const lender = channel.client(LenderDefinition);
    const lend = async () => {
      for (; !stopped; calls++) await lender.return(large, options);
    };
    const borrow = async () => {
      const all = { ...options, lendBytes: true };
      while (!stopped) for await (const _ of client.produce({ count: 5, bytes: 150_000 }, all)) calls++;
    };
    const stream = async () => {
      while (!stopped) for await (const _ of client.produce({ count: 20, bytes: 5000 }, options)) calls++;
    };
    const results = await Promise.allSettled([call(), call(), call(), stream(), lend(), borrow()]);
    for (const result of results) if (result.status === "rejected") count(result.reason);
  } finally {
    await channel.close({ timeoutMs: 0 });
  }
}

async function blockUntilFailure(): Promise<void> {
  const client = createSyncClient(ProbeDefinition, address!, {
    ...options,
    limits: { handshakeTimeoutMs: 1000 },
  });
  try {
    for (; !stopped; calls++) {
      client.echo(calls % 10 === 5 ? large : request);
      // Signals and the end of standard input have their turn.
      if (calls % 100 === 0) await new Promise(setImmediate);
    }
  } finally {
    client.close();
  }
}

console.log("ready");
while (!stopped) {
  await (mode === "sync" ? blockUntilFailure() : callUntilFailure()).catch(count);
  await new Promise(setImmediate);
}
console.log(JSON.stringify({ calls, failures }));
