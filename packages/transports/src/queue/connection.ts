import type { Connection, Peer, Traits } from "@sluice/core";
import type { QueueHandler } from "@sluice/native";
import { MAX_FRAME_BYTES, StreamConnection } from "../stream/connection.js";
import { readSlab } from "../stream/slabs.js";
import type { Outbound, QueueChannel } from "./channel.js";
import type { OpenQueue } from "./kind.js";

/**
 * A process's death is told by a pidfd, but not that of a worker thread whose last message found the queue full, nor that of a
 * process in another pid namespace: hence `keepalive`.
 */
const TRAITS: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "keepalive", reconnectable: true };

/** Frames over `channel`. The peer is whoever receives from `outbound`, which belongs to the user that it says. */
export function queueConnection(channel: QueueChannel, address: string, outbound: Outbound): Connection {
  const { pid, queue } = outbound;
  const peer: Peer = { address, uid: queue.uid, ...(pid !== undefined && { pid }) };
  return new StreamConnection((handler) => channel.open(handler), readSlab, TRAITS, peer);
}

/** Opens a queue to send to. */
export function openOutbound(open: (handler: QueueHandler) => OpenQueue): Outbound {
  const opened = open({
    onMessages() {},
    onRoom: () => outbound.onRoom(),
    onError() {},
  });
  const outbound: Outbound = {
    ...opened,
    onRoom() {},
    close() {
      opened.queue.close();
      opened.onClose?.();
    },
    tidy() {
      try {
        opened.onDeath?.();
      } catch {
        // What is there by now is another user's.
      }
    },
  };
  return outbound;
}
