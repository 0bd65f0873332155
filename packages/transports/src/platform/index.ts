import type { ChildProcess } from "node:child_process";
import type { ByteChannel, ByteChannelHandler } from "../stream/channel.js";
import type { CreatePacketCipher } from "../udp/packet-cipher.js";
import type { DatagramSocket } from "../udp/socket.js";

/**
 * What the transports need of the operating system. There are two: `native/` takes it from `@sluice/native`, `node/` from Node's
 * own modules. Both give plain system errors, with a `code`; the transports make `RpcError`s of them.
 */
export interface Platform {
  /** Whether peers have credentials, abstract names exist and socket files are made with their mode. */
  readonly native: boolean;
  readonly sockets: StreamSockets;
  readonly datagrams: DatagramSockets;
  /** Where it is faster than `node:crypto`. */
  readonly createPacketCipher?: CreatePacketCipher | undefined;
  readonly pipes: Pipes;
  /**
   * Opens a file, made with mode 0600 if there is none, and locks it (flock(2)), waiting for up to `waitMs`. Undefined when
   * another process still holds it then. The file is the one that is at `path`.
   */
  openLocked(path: string, waitMs: number): Promise<LockedFile | undefined>;
}

/** A stream of bytes that is not read from yet. Its one owner calls either `open` or `destroy`, once. */
export interface ByteStream {
  /** The slab that the channel will read into. */
  readonly input: Uint8Array;
  /** `pollUs`: for how many microseconds to poll before the process sleeps, where the platform can. */
  open(handler: ByteChannelHandler, pollUs: number): ByteChannel;
  destroy(): void;
}

/** Where a stream socket connects or listens: a path, an abstract name written `@NAME` (unix(7)), or a numeric IP address. */
export type SocketAddress = { readonly path: string } | IpAddress;

export interface IpAddress {
  readonly address: string;
  readonly port: number;
}

/** What the kernel says of the process at the other end of a Unix socket (SO_PEERCRED). */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** A connected stream socket. */
export interface StreamSocket extends ByteStream {
  /** Its descriptor, where the platform has it: the owner may take it over instead of calling `open` or `destroy`. */
  readonly fd: number | undefined;
  /** Of a Unix socket, where the platform can ask the kernel. */
  readonly credentials: Credentials | undefined;
  /** Of a TCP socket. */
  readonly remote: { readonly address: string; readonly port: number } | undefined;
}

export interface SocketServer {
  /** The port that was bound; 0 for a Unix socket. */
  readonly port: number;
  /** Stop accepting and remove the socket file. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}

export interface StreamSockets {
  /** Rejects with the signal's reason when it is aborted first. */
  connect(to: SocketAddress, signal: AbortSignal | undefined): Promise<StreamSocket>;
  /**
   * `mode` is that of a socket file: 0600, or 0666 where every user may connect. `onError` is told when no more can be accepted, as
   * for want of descriptors: once, until one is again.
   */
  listen(
    at: SocketAddress,
    mode: number,
    onSocket: (socket: StreamSocket) => void,
    onError: (error: Error) => void,
  ): Promise<SocketServer>;
}

export interface DatagramSockets {
  /** A socket bound to a numeric IP address. `pollUs` as of a `ByteStream`. */
  bind(at: IpAddress, pollUs: number): Promise<DatagramSocket>;
  /** One that sends to `to`, and receives from there alone. */
  connect(to: IpAddress, pollUs: number): Promise<DatagramSocket>;
}

export interface Pipes {
  /** Two pipes to and from a child that is about to be spawned. */
  forChild(): ChildPipes;
  /** The stream over two descriptors that this process inherited. */
  inherited(readFd: number, writeFd: number): ByteStream;
  /**
   * Takes standard input and output away from the rest of the process, which from now on reads nothing from the one, and
   * prints to standard error instead of the other.
   */
  takeStandard(): ByteStream;
}

export interface ChildPipes {
  /** What goes into the child's `stdio`, for it to read from and to write to. */
  readonly childReads: number | "pipe";
  readonly childWrites: number | "pipe";
  /** Tells the child's pipes from others in the child, as `describePipe` does there; empty where that cannot be known. */
  readonly identity: readonly [string, string] | undefined;
  /** After the spawn: gives up the child's ends, and gives the parent's. The numbers are their places in `stdio`. */
  open(child: ChildProcess, readsAt: number, writesAt: number): ByteStream;
  /** Instead of `open`. */
  destroy(): void;
}

export interface LockedFile {
  /** Lets go of the lock. */
  close(): Promise<void>;
}
