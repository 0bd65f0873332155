/** Messages between a process's main thread and a worker thread, over a MessagePort. Each is copied: no transfer lists. */
import { once } from "node:events";
import { parentPort, Worker } from "node:worker_threads";
import { echoClient } from "../echo-client.js";
import { SERVER_SCRIPT, type Implementation } from "../implementation.js";

export const messagePort: Implementation = {
  async serve() {
    const port = parentPort!;
    port.on("message", (body: Uint8Array) => port.postMessage(body));
    port.postMessage("ready");
    return { address: "", close: async () => port.close() };
  },

  connect: (transport, directory) =>
    echoClient(async (receive, fail) => {
      const worker = new Worker(SERVER_SCRIPT, { argv: ["MessagePort", transport, directory] });
      worker.on("error", fail);
      await once(worker, "message");
      worker.on("message", receive);
      return {
        send(body, times) {
          for (let sent = 0; sent < times; sent++) worker.postMessage(body);
        },
        async close() {
          await worker.terminate();
        },
      };
    }),
};
