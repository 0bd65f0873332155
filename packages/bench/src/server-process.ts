/**
 * Serves one implementation on one transport. Arguments: implementation, transport, directory. Started by the driver, or by
 * the client where the transport is between parent and child; it ends when the driver or the client does.
 */
import { answerDriver } from "./bench-process.js";
import type { BenchServer } from "./implementation.js";
import { loadImplementation } from "./implementations/index.js";
import { takePlace } from "./placement.js";

const [name, transport, directory] = process.argv.slice(2) as [string, string, string];
takePlace("server");
const implementation = await loadImplementation(name);

if (process.connected) {
  let server: BenchServer | undefined;
  await answerDriver(
    async () => (server = await implementation.serve(transport, directory)).address,
    async () => {
      throw new Error("a server answers no requests of the driver");
    },
    async () => server?.close(),
  );
} else {
  await implementation.serve(transport, directory);
}
