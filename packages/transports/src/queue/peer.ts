import { readlinkSync } from "node:fs";
import type { Native, ProcessWatch } from "@sluice/native";
import { errorCode } from "../errors.js";
import type { Outbound, QueueChannel } from "./channel.js";
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
 * Ends `channel` with the peer's process: the one that the kernel says receives from `outbound`; or, where the kernel does not say,
 * the one that the peer says it is. Nobody vouches for that: it tells when a peer is gone, not who it is. A number from
 * another pid namespace would mean another process here, so then only keepalive tells.
 */
export function watchPeer(
  native: Native,
  peer: Claim,
  outbound: Outbound,
  channel: QueueChannel,
): ProcessWatch | undefined {
  const own = claim();
  const claimed = peer.namespace === own.namespace && peer.namespace !== 0 ? peer.pid : undefined;
  const pid = outbound.pid ?? claimed;
  // A process does not outlive itself.
  if (pid === undefined || pid === own.pid) return undefined;
  try {
    return new native.ProcessWatch(pid, { onExit: () => channel.onPeerDeath() });
  } catch (error) {
    // Where it cannot be watched, such as for want of descriptors, keepalive tells.
    if (errorCode(error) === "ESRCH") channel.onPeerDeath();
    return undefined;
  }
}
