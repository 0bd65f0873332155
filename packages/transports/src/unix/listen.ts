import { lstat, unlink } from "node:fs/promises";
import { RpcError, Status, type Connection, type Listener, type TransportOptions } from "@sluice/core";
import { errorCode, systemError } from "../errors.js";
import { signalOption } from "../options.js";
import type { SocketServer, StreamSocket, StreamSockets } from "../stream/sockets.js";
import { parseUnixAddress } from "./address.js";
import { unixConnection } from "./connection.js";
import { missingDirectory } from "./directory.js";
import { lockFile, type Flock } from "./lock.js";
import { requireFeasible } from "./mode.js";
import { allowPeerOption, refusal, socketPeer } from "./peer.js";

export async function listen(
  sockets: StreamSockets,
  flock: Flock,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
): Promise<Listener> {
  const target = parseUnixAddress(address);
  const allow = allowPeerOption(options);
  const signal = signalOption(options);
  signal?.throwIfAborted();
  await requireFeasible(sockets, target, allow, "listen at", address);

  const onSocket = (socket: StreamSocket): void => {
    const peer = socketPeer(socket, address);
    let allowed = false;
    try {
      allowed = refusal(peer, allow) === undefined;
    } finally {
      if (!allowed) socket.destroy();
    }
    if (allowed) accept(unixConnection(socket, peer));
  };
  // Where others are to come in, the check is what decides, not the file's mode.
  const at = { path: target.path, mode: allow === "same-user" ? 0o600 : 0o666 };
  try {
    if (target.abstract) return listener(address, await sockets.listen(at, onSocket));
    const lock = await lockFile(`${target.path}.lock`, flock);
    try {
      await removeDead(sockets, target.path, address);
      const server = await sockets.listen(at, onSocket);
      // `node:net` removes the file when it closes, by itself.
      return listener(address, server, sockets.native ? await remover(target.path) : undefined);
    } finally {
      await lock.release();
    }
  } catch (error) {
    if (errorCode(error) === "ENOENT") throw missingDirectory(target.path, "listen at", address);
    throw systemError(error, "listen at", address);
  }
}

/**
 * Makes way at `path` if what is there is the socket of a dead server: one that refuses to connect. Under the lock, so that
 * no other server is between its bind(2) and listen(2), when it would refuse too.
 */
async function removeDead(sockets: StreamSockets, path: string, address: string): Promise<void> {
  const refuse = (status: Status, why: string): RpcError =>
    new RpcError(status, `cannot listen at ${address}: ${why}`);
  try {
    const found = await lstat(path);
    if (!found.isSocket()) {
      throw refuse(Status.FAILED_PRECONDITION, "what is there is not a socket, and is left alone");
    }
    (await sockets.connect({ path }, undefined)).destroy();
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

/** Removes the socket that is at `path` now, and nothing that may have taken its place. */
async function remover(path: string): Promise<() => Promise<void>> {
  const own = await lstat(path);
  return async () => {
    try {
      const found = await lstat(path);
      if (found.ino === own.ino && found.dev === own.dev) await unlink(path);
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
  };
}

/** `remove` is called before the descriptor is closed, so that there is never a socket file to which nobody listens. */
function listener(address: string, server: SocketServer, remove?: () => Promise<void>): Listener {
  let closed: Promise<void> | undefined;
  return {
    address,
    close: () => (closed ??= (remove?.() ?? Promise.resolve()).finally(() => server.close())),
    ref: () => server.ref(),
    unref: () => server.unref(),
  };
}
