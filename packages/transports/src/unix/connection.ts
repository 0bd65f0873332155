import type { Connection, Peer, Traits } from "@sluice/core";
import { MAX_FRAME_BYTES, StreamConnection } from "../stream/connection.js";
import type { StreamSocket } from "../platform/index.js";

export const TRAITS: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "carrier", reconnectable: true };

export function unixConnection(socket: StreamSocket, peer: Peer, pollUs: number): Connection {
  return new StreamConnection((handler) => socket.open(handler, pollUs), socket.input, TRAITS, peer);
}
