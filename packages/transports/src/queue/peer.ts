import { readlinkSync } from "node:fs";
import type { Native, ProcessWatch } from "@sluice/native";
import type { QueueChannel } from "./channel.js";
import type { Claim } from "./message.js";

/** What this process says of itself. */
export function claim(): Claim {
  return { pid: process.pid, namespace: pidNamespace() };
}

/** The number of the pid namespace in which this process is (namespaces(7)); 0 where /proc does not tell. */
function pidNamespace(): number {
  try {
    return Number(/\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? 0);
  } catch {
    return 0;
  }
}

/**
 * Ends `channel` with the process that the peer says it is. Nobody vouches for that: it says when a peer is gone, not who it
 * is. A number from another pid namespace would mean another process here, so then only keepalive tells.
 */
export function watchPeer(native: Native, peer: Claim, channel: QueueChannel): ProcessWatch | undefined {
  const own = claim();
  if (peer.namespace !== own.namespace || peer.namespace === 0 || peer.pid === own.pid) return undefined;
  try {
    return new native.ProcessWatch(peer.pid, { onExit: () => channel.onPeerDeath() });
  } catch {
    // It is gone already.
    channel.onPeerDeath();
    return undefined;
  }
}
