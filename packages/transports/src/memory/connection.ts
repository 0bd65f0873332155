import type { Peer, Traits } from "@sluice/core";
import { MAX_FRAME_BYTES, StreamConnection } from "../stream/connection.js";
import { readSlab } from "../stream/slabs.js";
import { MemoryChannel } from "./channel.js";

const TRAITS: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "carrier", reconnectable: true };

/** Both ends of a new connection. */
export function connectionPair(address: string): [StreamConnection, StreamConnection] {
  const peer: Peer = {
    address,
    pid: process.pid,
    ...(process.getuid && { uid: process.getuid() }),
    ...(process.getgid && { gid: process.getgid() }),
  };
  const [one, other] = MemoryChannel.pair();
  return [
    new StreamConnection((handler) => one.open(handler), readSlab, TRAITS, peer),
    new StreamConnection((handler) => other.open(handler), readSlab, TRAITS, peer),
  ];
}
