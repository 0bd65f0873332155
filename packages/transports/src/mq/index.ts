import type { Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import { connectQueue } from "../queue/connect.js";
import { listenQueue } from "../queue/listen.js";
import { posixQueues } from "./kind.js";

/**
 * `mq:/NAME`: POSIX message queues (mq_overview(7)), for processes of one user: one queue of the server's at that name, and a
 * nameless one for each client.
 *
 * Options of `connect` and `listen`: `poll`, as of `unix:`; and for the queue that each end receives from: `messages`, how many it holds (4 to
 * fs.mqueue.msg_max, default 8), and `messageBytes`, how long each may be (256 to fs.mqueue.msgsize_max, default 2048).
 */
export function createMqTransport(native: Native): Transport {
  const kind = posixQueues(native);
  return {
    scheme: "mq",
    connect: (address, options) => connectQueue(native, kind, address, options),
    listen: (address, accept, options) => listenQueue(native, kind, address, accept, options),
  };
}
