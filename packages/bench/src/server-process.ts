/**
 * Serves one implementation. Started by the driver (argument: implementation), which says on which transports; or by the client
 * where the transport is between parent and child (arguments: implementation, transport, directory). It ends when the driver or the
 * client does.
 */
import { answerDriver, leaveSignalsToDriver } from "./bench-process.js";
import { sampleHeap, type HeapRequest } from "./heap-sampling.js";
import type { MemoryRequest } from "./held.js";
import type { BenchServer, Implementation } from "./implementation.js";
import { findImplementation } from "./implementations/index.js";
import { takePlace } from "./placement.js";
import { usedBytes } from "./usage.js";

/** Listen on a transport, too; answered with the address. */
export interface ServeRequest {
  readonly serve: { readonly transport: string; readonly directory: string };
}

const [name, transport, directory] = process.argv.slice(2) as [string, string?, string?];
const { load } = findImplementation(name);
const servers: BenchServer[] = [];

leaveSignalsToDriver();
takePlace("server");
if (transport !== undefined) {
  await (await load()).serve(transport, directory!);
} else {
  let implementation: Implementation;
  await answerDriver(
    async () => {
      implementation = await load();
    },
    async (request: ServeRequest | MemoryRequest | HeapRequest) => {
      if ("heap" in request) return sampleHeap(request);
      if ("memory" in request) return usedBytes();
      const server = await implementation.serve(request.serve.transport, request.serve.directory);
      servers.push(server);
      return server.address;
    },
    async () => {
      await Promise.all(servers.map((server) => server.close()));
    },
  );
}
