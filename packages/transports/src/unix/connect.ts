import { RpcError, Status, type Peer, type TransportOptions } from "@sluice/core";
import { errorCode, systemError } from "../errors.js";
import { signalOption } from "../options.js";
import type { Platform, StreamSocket } from "../platform/index.js";
import type { UnixAddress } from "./address.js";
import { requireFeasible } from "./mode.js";
import { allowPeerOption, refusal, socketPeer } from "./peer.js";

/**
 * Connects to the socket `target` of `address`, and lets only an allowed peer through. The socket is the caller's to open or
 * destroy.
 */
export async function connectSocket(
  platform: Platform,
  address: string,
  target: UnixAddress,
  options: TransportOptions,
): Promise<{ readonly socket: StreamSocket; readonly peer: Peer }> {
  const allow = allowPeerOption(options);
  const signal = signalOption(options);
  signal?.throwIfAborted();
  await requireFeasible(platform, target, allow, "connect to", address);
  let socket;
  try {
    socket = await platform.sockets.connect({ path: target.path }, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw connectError(error, address);
  }
  const peer = socketPeer(socket, address);
  let refused;
  try {
    refused = refusal(peer, allow);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  if (refused !== undefined) {
    socket.destroy();
    throw refused;
  }
  return { socket, peer };
}

/** The error to tell when connecting to the socket of `address` failed with `error`. */
export function connectError(error: unknown, address: string): RpcError {
  if (errorCode(error) !== "ENOENT") return systemError(error, "connect to", address);
  return new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: no socket is there (ENOENT)`, {
    cause: error,
  });
}
