import type { ByteChannel, ByteChannelHandler } from "./channel.js";

/** Where a stream socket connects or listens. A path that begins with NUL is an abstract name (unix(7)). */
export type SocketAddress = UnixSocketAddress | { readonly host: string; readonly port: number };

export interface UnixSocketAddress {
  readonly path: string;
  /** The mode of the socket file that listening makes; by default 0600. */
  readonly mode?: number;
}

/** What the kernel says of the process at the other end of a Unix socket (SO_PEERCRED). */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** A connected stream socket, not read from yet. Its one owner calls either `open` or `destroy`. */
export interface StreamSocket {
  /** The peer's credentials, if the socket is a Unix one and this implementation can ask the kernel. */
  readonly credentials: Credentials | undefined;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  /** The slab that the channel will read into. */
  readonly input: Uint8Array;
  open(handler: ByteChannelHandler): ByteChannel;
  destroy(): void;
}

export interface SocketServer {
  /** The port that was bound; 0 for a Unix socket. */
  readonly port: number;
  /** Stop accepting; resolves when the descriptor is closed. Does not touch a socket file. */
  close(): Promise<void>;
  ref(): void;
  unref(): void;
}

/** Stream sockets as `@sluice/native` or Node's own modules give them. Errors are Node's system errors, with a `code`. */
export interface StreamSockets {
  /** Whether peers' credentials and abstract names are to be had, and socket files are created with their mode. */
  readonly native: boolean;
  /** Rejects with the signal's reason when it is aborted first. */
  connect(to: SocketAddress, signal: AbortSignal | undefined): Promise<StreamSocket>;
  listen(at: SocketAddress, onSocket: (socket: StreamSocket) => void): Promise<SocketServer>;
}
