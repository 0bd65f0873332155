import { fstatSync, lstatSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  RpcError,
  Status,
  type Connection,
  type Listener,
  type ReportError,
  type TransportOptions,
} from "@sluice/core";
import type { ByteChannel, ByteHandler, Native } from "@sluice/native";
import { errorCode, systemError } from "../errors.js";
import { atExit } from "../exit.js";
import { pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { lockFile } from "../unix/lock.js";
import { allowPeerOption, refusal, type AllowPeer } from "../unix/peer.js";
import { openDirectory, parseFifoAddress } from "./address.js";
import { ANNOUNCEMENT_BYTES, takeAnnouncements, upOf, type Names } from "./announcement.js";
import { fifoConnection, openFifo, removeFifo, type Fifo } from "./fifo.js";

export async function listen(
  native: Native,
  platform: Platform,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
  report?: ReportError,
): Promise<Listener> {
  const { path, name } = parseFifoAddress(address);
  const allow = allowPeerOption(options);
  const pollUs = pollOption(options);
  signalOption(options)?.throwIfAborted();
  const directory = openDirectory(native, path, "listen at", address);
  let listener: FifoListener | undefined;
  try {
    const lock = await lockFile(`${path}.lock`, platform);
    try {
      removeDead(native, directory, name, address);
      removeAbandoned(native, directory, dirname(path));
      native.makeFifoAt(directory, name, 0o600);
      // For writing, too, so that there is no end of the file when the last client has closed it (fifo(7)).
      const fd = native.openAt(directory, name, "both");
      try {
        listener = new FifoListener(
          native,
          platform,
          { address, directory, name, fd },
          allow,
          pollUs,
          accept,
          report,
        );
      } catch (error) {
        native.closeFd(fd);
        native.unlinkAt(directory, name);
        throw error;
      }
    } finally {
      await lock.release();
    }
    return listener;
  } catch (error) {
    if (listener === undefined) native.closeFd(directory);
    else await listener.close();
    throw systemError(error, "listen at", address);
  }
}

/**
 * Makes way at `name` if what is there is the FIFO of a dead server: one that nobody reads. Under the lock, so that no other
 * server is between making and opening its own.
 */
function removeDead(native: Native, directory: number, name: string, address: string): void {
  const refuse = (status: Status, why: string): RpcError =>
    new RpcError(status, `cannot listen at ${address}: ${why}`);
  try {
    const found = openFifo(native, directory, name, "look");
    if (found === undefined) {
      throw refuse(Status.FAILED_PRECONDITION, "what is there is not a FIFO, and is left alone");
    }
    native.closeFd(found.fd);
    native.closeFd(native.openAt(directory, name, "write"));
  } catch (error) {
    switch (errorCode(error)) {
      case "ENOENT":
        return;
      case "ENXIO":
        return native.unlinkAt(directory, name);
      default:
        throw error;
    }
  }
  throw refuse(Status.ALREADY_EXISTS, "a live server listens there");
}

/** Older than a client makes them before it opens them. */
const ABANDONED_MS = 60_000;

/** Removes what clients left that were killed before a server took their FIFOs. */
function removeAbandoned(native: Native, directory: number, path: string): void {
  for (const name of readdirSync(path)) {
    const up = upOf(name);
    if (up === undefined) continue;
    const age = Date.now() - (lstatSync(join(path, name), { throwIfNoEntry: false })?.mtimeMs ?? Infinity);
    if (age > ABANDONED_MS && !isRead(native, directory, up)) removeFifo(native, directory, name);
  }
}

/** Whether somebody has a FIFO open, for reading at least. */
function isRead(native: Native, directory: number, name: string): boolean {
  try {
    native.closeFd(native.openAt(directory, name, "write"));
    return true;
  } catch (error) {
    const code = errorCode(error);
    return code !== "ENXIO" && code !== "ENOENT";
  }
}

/** What the server's end of a new connection begins with: a byte that says that there is one. */
const GREETING = Uint8Array.of(1);

/** The rendezvous of a listener. The listener owns both descriptors. */
interface Rendezvous {
  readonly address: string;
  readonly directory: number;
  readonly name: string;
  readonly fd: number;
}

/** Of the rendezvous: for as many clients at a time as a socket accepts, so that those who come in crowds do not hold up the rest. */
const READ_BYTES = 64 * ANNOUNCEMENT_BYTES;

const NOTHING = Buffer.alloc(0);

class FifoListener implements Listener, ByteHandler {
  readonly address: string;
  readonly #native: Native;
  readonly #platform: Platform;
  readonly #at: Rendezvous;
  readonly #allow: AllowPeer;
  readonly #pollUs: number;
  readonly #accept: (connection: Connection) => void;
  readonly #report: ReportError | undefined;
  readonly #channel: ByteChannel;
  /** The beginning of an announcement. */
  #rest: Buffer = NOTHING;
  #closed = false;
  readonly #forget: () => void;

  constructor(
    native: Native,
    platform: Platform,
    at: Rendezvous,
    allow: AllowPeer,
    pollUs: number,
    accept: (connection: Connection) => void,
    report: ReportError | undefined,
  ) {
    this.#native = native;
    this.#platform = platform;
    this.#at = at;
    this.address = at.address;
    this.#allow = allow;
    this.#pollUs = pollUs;
    this.#accept = accept;
    this.#report = report;
    this.#channel = new native.ByteChannel(at.fd, at.fd, this, { maxReadBytes: READ_BYTES });
    this.#channel.start();
    this.#forget = atExit(() => this.#remove());
  }

  onRead(end: number): number {
    const { buffer, byteOffset } = this.#native.readSlab;
    const bytes = Buffer.from(buffer, byteOffset, end);
    bytes.set(this.#rest);
    // Each apart: what an `allowPeer` function throws is not to be the end of the others, nor of this listener.
    const kept = takeAnnouncements(bytes, (names) => queueMicrotask(() => this.#admit(names)));
    this.#rest = Buffer.from(bytes.subarray(end - kept));
    return kept;
  }

  onWritable(): void {}

  onEnd(): void {}

  onError(error: Error): void {
    throw error;
  }

  #admit(names: Names): void {
    if (this.#closed) return;
    const opened = this.#open(names);
    if (opened === undefined) return;
    const [reads, writes] = opened;
    const stream = this.#platform.pipes.inherited(reads.fd, writes.fd);
    const peer = { address: this.address, uid: reads.uid };
    let refused: RpcError | undefined;
    let connection: Connection | undefined;
    try {
      refused = refusal(peer, this.#allow);
      if (refused === undefined && this.#greet(writes.fd)) {
        connection = fifoConnection(stream, peer, this.#pollUs);
      }
    } finally {
      // The client sees the end of its file.
      if (connection === undefined) stream.destroy();
    }
    if (connection !== undefined) this.#accept(connection);
    else if (refused !== undefined) this.#report?.(refused, peer);
  }

  /** Opens what a client has announced. Undefined if that cannot be done: then the client is gone, or lied. */
  #open({ up, down }: Names): readonly [Fifo, Fifo] | undefined {
    const { directory } = this.#at;
    const native = this.#native;
    let reads: Fifo | undefined;
    try {
      reads = openFifo(native, directory, up, "read");
      const writes = openFifo(native, directory, down, "write");
      if (writes !== undefined && writes.uid === reads?.uid) return [reads, writes];
      if (writes !== undefined) native.closeFd(writes.fd);
    } catch {
      // Nobody is there to be told.
    } finally {
      removeFifo(native, directory, up);
      removeFifo(native, directory, down);
    }
    if (reads !== undefined) native.closeFd(reads.fd);
    return undefined;
  }

  /** Whether the client is still there, and has left room for the greeting. */
  #greet(fd: number): boolean {
    try {
      return this.#native.blocking.write(fd, GREETING, 0, GREETING.length) === GREETING.length;
    } catch (error) {
      if (errorCode(error) === "EPIPE") return false;
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#forget();
    this.#remove();
    this.#channel.close();
    this.#native.closeFd(this.#at.directory);
  }

  /** Removes the rendezvous, unless something else has taken its place. */
  #remove(): void {
    const { directory, name, fd } = this.#at;
    try {
      const found = openFifo(this.#native, directory, name, "look");
      if (found === undefined) return;
      const own = fstatSync(found.fd).ino === fstatSync(fd).ino;
      this.#native.closeFd(found.fd);
      if (own) this.#native.unlinkAt(directory, name);
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }

  ref(): void {
    this.#channel.ref();
  }

  unref(): void {
    this.#channel.unref();
  }
}
