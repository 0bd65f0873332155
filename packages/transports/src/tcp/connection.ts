import type { Connection, Traits } from "@sluice/core";
import { MAX_FRAME_BYTES, StreamConnection } from "../stream/connection.js";
import type { StreamSocket } from "../platform/index.js";
import { isLoopback } from "./address.js";

/** On one host the kernel resets the connections of a process that dies; a peer elsewhere may vanish without a word. */
const LOCAL: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "carrier", reconnectable: true };
const REMOTE: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "keepalive", reconnectable: true };

/** Of a connection with an IP address; undefined if it was gone before it could be asked. */
export function traitsOf(remoteAddress: string | undefined): Traits {
  return remoteAddress !== undefined && isLoopback(remoteAddress) ? LOCAL : REMOTE;
}

export function tcpConnection(socket: StreamSocket, address: string, pollUs: number): Connection {
  const { remote } = socket;
  const peer = { address, ...(remote && { remoteAddress: remote.address, remotePort: remote.port }) };
  const traits = traitsOf(remote?.address);
  return new StreamConnection((handler) => socket.open(handler, pollUs), socket.input, traits, peer);
}
