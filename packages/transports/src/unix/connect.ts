import { statSync } from "node:fs";
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
    throw connectError(error, address, target);
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

/** The error to tell when connecting to the socket `target` of `address` failed with `error`. */
export function connectError(error: unknown, address: string, { path }: UnixAddress): RpcError {
  const fail = (status: Status, why: string): RpcError =>
    new RpcError(status, `cannot connect to ${address}: ${why}`, { cause: error });
  switch (errorCode(error)) {
    case "ENOENT":
      return fail(Status.UNAVAILABLE, "no socket is there (ENOENT)");
    case "EACCES":
      return fail(Status.PERMISSION_DENIED, `permission denied (EACCES): ${denial(path)}`);
    default:
      return systemError(error, "connect to", address);
  }
}

/** Why this user may not connect to the socket at `path`, and the remedy. */
function denial(path: string): string {
  const own = process.geteuid!();
  let stats;
  try {
    stats = statSync(path);
  } catch (error) {
    return `uid ${own} cannot look at the socket either (${errorCode(error)}): see the modes of the directories on its path`;
  }
  const mode = stats.mode & 0o777;
  // A server that lets in only its own user makes its socket so; any other has what its umask leaves of 0666.
  const remedy =
    mode === 0o600
      ? "the server's option allowPeer lets other users in"
      : "the server's umask must leave others the right to write, as 0 does";
  return (
    `the socket belongs to uid ${stats.uid} and has mode 0${mode.toString(8)}, ` +
    `and this process runs as uid ${own}; ${remedy}`
  );
}
