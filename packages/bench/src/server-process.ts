/**
 * Serves one implementation on one transport. Arguments: implementation, transport, directory. Started by the driver, or by
 * the client where the transport is between parent and child; it ends when the driver or the client does.
 */
import { answerDriver } from "./bench-process.js";
import { sampleHeap, type HeapRequest } from "./heap-sampling.js";
import type { MemoryRequest } from "./held.js";
import type { BenchServer } from "./implementation.js";
import { findImplementation } from "./implementations/index.js";
import { takePlace } from "./placement.js";
import { usedBytes } from "./usage.js";

const [name, transport, directory] = process.argv.slice(2) as [string, string, string];
takePlace("server");
const { transports, load } = findImplementation(name);
const serve = async () => (await load()).serve(transport, directory);

if (transports[transport] === "own process") {
  let server: BenchServer | undefined;
  await answerDriver(
    async () => (server = await serve()).address,
    async (request: MemoryRequest | HeapRequest) => ("heap" in request ? sampleHeap(request) : usedBytes()),
    async () => server?.close(),
  );
} else {
  await serve();
}
