import { lstat, unlink } from "node:fs/promises";
import {
  RpcError,
  Status,
  type Listener,
  type Peer,
  type ReportError,
  type TransportOptions,
} from "@sluice/core";
import { errorCode, systemError } from "../errors.js";
import { signalOption } from "../options.js";
import type { Platform, SocketServer, StreamSocket } from "../platform/index.js";
import type { UnixAddress } from "./address.js";
import { missingDirectory } from "./directory.js";
import { lockFile } from "./lock.js";
import { requireFeasible } from "./mode.js";
import { allowPeerOption, refusal, socketPeer } from "./peer.js";

/**
 * Listens at the socket `target` of `address`; `accept` gets the sockets of allowed peers, to open or destroy, and `report` is
 * told of the others.
 */
export async function listenSocket(
  platform: Platform,
  address: string,
  target: UnixAddress,
  accept: (socket: StreamSocket, peer: Peer) => void,
  options: TransportOptions,
  report?: ReportError,
): Promise<Listener> {
  const allow = allowPeerOption(options);
  const signal = signalOption(options);
  signal?.throwIfAborted();
  await requireFeasible(platform, target, allow, "listen at", address);

  const onSocket = (socket: StreamSocket): void => {
    const peer = socketPeer(socket, address);
    let refused;
    try {
      refused = refusal(peer, allow);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    if (refused === undefined) return accept(socket, peer);
    socket.destroy();
    report?.(refused, peer);
  };
  const onError = (error: Error): void => report?.(systemError(error, "accept connections at", address));
  // Where others are to come in, the check is what decides, not the file's mode.
  const mode = allow === "same-user" ? 0o600 : 0o666;
  let server: SocketServer | undefined;
  try {
    if (target.abstract) {
      return listener(address, await platform.sockets.listen(target, mode, onSocket, onError));
    }
    const lock = await lockFile(`${target.path}.lock`, platform);
    try {
      await removeDead(platform, target.path, address);
      server = await platform.sockets.listen(target, mode, onSocket, onError);
    } finally {
      await lock.release();
    }
    return listener(address, server);
  } catch (error) {
    server?.close();
    if (errorCode(error) === "ENOENT") throw missingDirectory(target.path, "listen at", address);
    throw systemError(error, "listen at", address);
  }
}

/**
 * Makes way at `path` if what is there is the socket of a dead server: one that refuses to connect. Under the lock, so that
 * no other server is between its bind(2) and listen(2), when it would refuse too.
 */
async function removeDead(platform: Platform, path: string, address: string): Promise<void> {
  const refuse = (status: Status, why: string): RpcError =>
    new RpcError(status, `cannot listen at ${address}: ${why}`);
  try {
    const found = await lstat(path);
    if (!found.isSocket()) {
      throw refuse(Status.FAILED_PRECONDITION, "what is there is not a socket, and is left alone");
    }
    (await platform.sockets.connect({ path }, undefined)).destroy();
  } catch (error) {
    switch (errorCode(error)) {
      case "ENOENT":
        return;
      case "ECONNREFUSED":
        return unlink(path);
      case "EAGAIN":
        break;
      case "EPROTOTYPE":
        throw refuse(Status.ALREADY_EXISTS, "a socket of another type is there, and is left alone");
      default:
        throw error;
    }
  }
  throw refuse(Status.ALREADY_EXISTS, "a live server listens there");
}

function listener(address: string, server: SocketServer): Listener {
  return {
    address,
    close: async () => server.close(),
    ref: () => server.ref(),
    unref: () => server.unref(),
  };
}
