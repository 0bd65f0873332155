import type { Connection, Traits } from "@sluice/core";
import { MAX_FRAME_BYTES, StreamConnection } from "../stream/connection.js";
import type { StreamSocket } from "../platform/index.js";
import { isLoopback } from "./address.js";

/** On one host the kernel resets the connections of a process that dies; a peer elsewhere may vanish without a word. */
export const LOCAL: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "carrier", reconnectable: true };
export const REMOTE: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "keepalive", reconnectable: true };

export function tcpConnection(socket: StreamSocket, address: string): Connection {
  const { remote } = socket;
  return new StreamConnection(
    (handler) => socket.open(handler),
    socket.input,
    remote !== undefined && isLoopback(remote.address) ? LOCAL : REMOTE,
    { address, ...(remote && { remoteAddress: remote.address, remotePort: remote.port }) },
  );
}
