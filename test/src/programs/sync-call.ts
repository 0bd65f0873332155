// A thread that makes one blocking call: says that it is about to, then what came of it, and lives until it is ended.
import { parentPort, workerData } from "node:worker_threads";
import { createSyncClient, RpcError, type SyncOptions } from "@sluice/node";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";

const { address, method, request, options } = workerData as {
  readonly address: string;
  readonly method: "echo" | "hold";
  readonly request: never;
  readonly options: SyncOptions;
};
const client = createSyncClient(ProbeDefinition, address, options);
parentPort!.postMessage("begins");
let outcome: object;
try {
  outcome = { value: client[method](request) };
} catch (error) {
  if (!(error instanceof RpcError)) throw error;
  outcome = { code: error.codeName, mayHaveRun: error.mayHaveRun, message: error.message };
}
parentPort!.postMessage(outcome);
// The parent ends this thread with the client still open.
parentPort!.ref();
parentPort!.on("message", () => {});
