import { RpcError, Status, type Connection, type Peer, type TransportOptions } from "@sluice/core";
import type { ByteChannel, Native } from "@sluice/native";
import { errorCode, systemError } from "../errors.js";
import { pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { END } from "../stream/channel.js";
import { allowPeerOption, refusal } from "../unix/peer.js";
import { openDirectory, parseFifoAddress } from "./address.js";
import { announce } from "./announcement.js";
import { fifoConnection, openFifo, removeFifo } from "./fifo.js";

export async function connect(
  native: Native,
  platform: Platform,
  address: string,
  options: TransportOptions,
): Promise<Connection> {
  const { path, name } = parseFifoAddress(address);
  const allow = allowPeerOption(options);
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  signal?.throwIfAborted();
  const { names, announcement } = announce();
  const directory = openDirectory(native, path, "connect to", address);
  /** What this function must still close. */
  const open = new Set([directory]);
  const take = (fd: number): number => {
    open.delete(fd);
    return fd;
  };
  try {
    const rendezvous = openFifo(native, directory, name, "write");
    if (rendezvous === undefined) {
      throw new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: what is there is not a FIFO`);
    }
    open.add(rendezvous.fd);
    const peer: Peer = { address, uid: rendezvous.uid };
    const refused = refusal(peer, allow);
    if (refused !== undefined) throw refused;

    for (const fifo of [names.up, names.down]) native.makeFifoAt(directory, fifo, 0o600);
    const openAt = (fifo: string, access: "read" | "write"): number => {
      const fd = native.openAt(directory, fifo, access);
      open.add(fd);
      return fd;
    };
    const reads = openAt(names.down, "read");
    // A FIFO opens for writing only while somebody reads it: this process does, until the server does.
    openAt(names.up, "read");
    const writes = openAt(names.up, "write");
    const greeted = greeting(native, take(rendezvous.fd), take(reads), announcement, address, signal);
    open.add(await greeted);
    const connection = fifoConnection(platform.pipes.inherited(reads, writes), peer, pollUs);
    take(reads);
    take(writes);
    return connection;
  } catch (error) {
    signal?.throwIfAborted();
    throw connectError(error, address);
  } finally {
    removeFifo(native, directory, names.up);
    removeFifo(native, directory, names.down);
    for (const fd of open) native.closeFd(fd);
  }
}

function connectError(error: unknown, address: string): RpcError {
  if (errorCode(error) !== "ENOENT") return systemError(error, "connect to", address);
  return new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: no FIFO is there (ENOENT)`, {
    cause: error,
  });
}

/**
 * Writes the announcement as soon as there is room for it, and waits until the server has opened this client's FIFOs, of which it
 * tells by one byte. Takes both descriptors over, and resolves to `reads`, with nothing read of what follows that byte.
 */
function greeting(
  native: Native,
  rendezvous: number,
  reads: number,
  announcement: Uint8Array,
  address: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const channels: ByteChannel[] = [];
    const settle = (): void => {
      signal?.removeEventListener("abort", onAbort);
      for (const channel of channels) channel.close();
    };
    const fail = (error: unknown): void => {
      settle();
      reject(error as Error);
    };
    const succeed = (): void => {
      const fd = channels.pop()!.detach();
      settle();
      resolve(fd);
    };
    const onAbort = (): void => fail(signal!.reason);
    const gone = (): void =>
      fail(
        new RpcError(
          Status.UNAVAILABLE,
          `cannot connect to ${address}: the server refused, or ended before it answered`,
        ),
      );
    // What was accepted by a server that has stopped listening since has been greeted, too, and may only not be read yet.
    const onServerEnd = (): void =>
      native.blocking.read(reads, new Uint8Array(1), 0) === 1 ? succeed() : gone();

    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      // A descriptor for writing never becomes readable, but to poll for it tells when the last reader goes (poll(2), POLLERR).
      const announcing = new native.ByteChannel(rendezvous, rendezvous, {
        onRead: () => 0,
        onWritable() {},
        onEnd: onServerEnd,
        onError: onServerEnd,
      });
      channels.push(announcing);
      const answered = new native.ByteChannel(
        reads,
        reads,
        { onRead: () => (succeed(), 0), onWritable() {}, onEnd: gone, onError: fail },
        { maxReadBytes: 1 },
      );
      channels.push(answered);
      for (const channel of channels) channel.start();
      const slab = announcing.acquire();
      slab.memory.set(announcement, slab.words[END]!);
      slab.words[END]! += announcement.length;
    } catch (error) {
      // Those that no channel has taken.
      for (const fd of [rendezvous, reads].slice(channels.length)) native.closeFd(fd);
      fail(error);
    }
  });
}
