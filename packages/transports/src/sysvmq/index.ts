import type { Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import { connectQueue } from "../queue/connect.js";
import { listenQueue } from "../queue/listen.js";
import { sysvQueues } from "./kind.js";

/**
 * `sysvmq:KEY`: System V message queues (sysvipc(7)), for processes of one user. KEY is a number, as ftok(3) makes them, in
 * decimal or with 0x.
 *
 * Option of `connect` and `listen`: `poll`, as of `unix:`.
 */
export function createSysvmqTransport(native: Native): Transport {
  const kind = sysvQueues(native);
  return {
    scheme: "sysvmq",
    connect: (address, options) => connectQueue(native, kind, address, options),
    listen: (address, accept, options) => listenQueue(native, kind, address, accept, options),
  };
}
