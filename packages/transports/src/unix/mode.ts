import { RpcError, Status } from "@sluice/core";
import type { Platform } from "../platform/index.js";
import type { UnixAddress } from "./address.js";
import { requirePrivateDirectory } from "./directory.js";
import type { AllowPeer } from "./peer.js";

/** Refuses what cannot be had, or not safely, without the addon. */
export async function requireFeasible(
  platform: Platform,
  { path, abstract }: UnixAddress,
  allow: AllowPeer,
  doing: string,
  address: string,
): Promise<void> {
  if (platform.native) return;
  const refuse = (why: string): RpcError =>
    new RpcError(Status.UNIMPLEMENTED, `cannot ${doing} ${address}: ${why} @sluice/native`);
  if (abstract)
    throw refuse("an abstract socket has no permissions, and the peer's user cannot be checked without");
  if (typeof allow === "function")
    throw refuse("an allowPeer function needs the peer's uid, which only comes with");
  if (allow === "same-user") await requirePrivateDirectory(path, doing, address);
}
