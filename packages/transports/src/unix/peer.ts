import { RpcError, Status, type Peer, type TransportOptions } from "@sluice/core";
import { invalidOption } from "../options.js";
import type { StreamSocket } from "../platform/index.js";

/** Which peers are let in: processes of this process's effective user, all, or those that the function says true to. */
export type AllowPeer = "same-user" | "any" | ((peer: Peer) => boolean);

export function allowPeerOption(options: TransportOptions): AllowPeer {
  const value = options["allowPeer"];
  if (value === undefined) return "same-user";
  if (value === "same-user" || value === "any") return value;
  if (typeof value === "function") return value as (peer: Peer) => boolean;
  throw invalidOption("allowPeer", value, '"same-user", "any" or a function from a Peer to a boolean');
}

export function socketPeer(socket: StreamSocket, address: string): Peer {
  return { address, ...socket.credentials };
}

/** The error to refuse `peer` with, or undefined to let it in. What an `allowPeer` function throws comes through. */
export function refusal(peer: Peer, allow: AllowPeer): RpcError | undefined {
  if (allow === "any") return undefined;
  if (allow === "same-user") {
    // Without credentials the directory was checked instead: see directory.ts.
    const own = process.geteuid?.();
    if (peer.uid === undefined || peer.uid === own) return undefined;
    return new RpcError(
      Status.PERMISSION_DENIED,
      `the peer at ${peer.address} runs as uid ${peer.uid} and this process as uid ${own}: ` +
        'allow it by the option allowPeer ("any", or a function of the peer) if that is meant',
    );
  }
  if (allow(peer) === true) return undefined;
  return new RpcError(
    Status.PERMISSION_DENIED,
    `the option allowPeer refused the peer at ${peer.address} (uid ${peer.uid}, pid ${peer.pid})`,
  );
}
