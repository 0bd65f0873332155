import type { Connection, Traits } from "@sluice/core";
import { MAX_FRAME_BYTES, StreamConnection } from "../stream/connection.js";
import type { StreamSocket } from "../stream/sockets.js";
import { isLoopback } from "./address.js";

/** On one host the kernel resets the connections of a process that dies; a peer elsewhere may vanish without a word. */
const LOCAL: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "carrier", reconnectable: true };
const REMOTE: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "keepalive", reconnectable: true };

export function tcpConnection(socket: StreamSocket, address: string): Connection {
  const { remoteAddress, remotePort } = socket;
  return new StreamConnection(
    (handler) => socket.open(handler),
    socket.input,
    remoteAddress !== undefined && isLoopback(remoteAddress) ? LOCAL : REMOTE,
    {
      address,
      ...(remoteAddress !== undefined && { remoteAddress }),
      ...(remotePort !== undefined && { remotePort }),
    },
  );
}
