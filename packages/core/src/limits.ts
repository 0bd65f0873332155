import { RpcError } from "./error.js";
import { Status } from "./status.js";
import type { Connection } from "./transport.js";
import { MAX_SLOTS } from "./wire.js";

/** What one end of a connection allows the other. Every limit is on by default. */
export interface Limits {
  /** The longest message taken, in bytes. Default 4 MiB. */
  readonly maxMessageBytes: number;
  /** The largest metadata of a call (headers, or trailers with the status details), in bytes. Default 16 KiB. */
  readonly maxMetadataBytes: number;
  /** Calls that the peer may have open at once on a connection; more wait at the peer. Default 1,024, at most 65,536. */
  readonly maxConcurrentStreams: number;
  /**
   * Bytes that the peer may send on one stream ahead of its consumer. Default 256 KiB; 2 MiB on connections with memory for
   * large frames (`shm:`), on which a message that fits the window needs no fragments.
   */
  readonly streamWindowBytes: number;
  /** Bytes that the peer may send on all streams of a connection ahead of their consumers. Default 16 MiB; with large frames 32 MiB. */
  readonly connectionWindowBytes: number;
  /** Memory for messages that have arrived in part, per connection. Default: two maximum messages. */
  readonly reassemblyBytes: number;
  /** How long connecting may take, and then the peer to say HELLO, in milliseconds. Default 10,000. */
  readonly handshakeTimeoutMs: number;
  /** Calls that may wait at this end for a connection or a free stream, per channel. Default 65,536. */
  readonly maxQueuedCalls: number;
}

const DEFAULTS = {
  maxMessageBytes: 4 << 20,
  maxMetadataBytes: 16 << 10,
  maxConcurrentStreams: 1024,
  streamWindowBytes: 256 << 10,
  connectionWindowBytes: 16 << 20,
  handshakeTimeoutMs: 10_000,
  maxQueuedCalls: 65_536,
} as const;

/** What differs where the connection has memory for large frames. */
const LARGE_DEFAULTS = { streamWindowBytes: 2 << 20, connectionWindowBytes: 32 << 20 } as const;

const RANGES: Readonly<Record<keyof Limits, readonly [number, number]>> = {
  maxMessageBytes: [1, 0x7fff_ffff],
  // A metadata block shares one frame with a method name and a first message, and its length is a u16.
  maxMetadataBytes: [0, 60 << 10],
  maxConcurrentStreams: [1, MAX_SLOTS],
  streamWindowBytes: [64 << 10, 0x3fff_ffff],
  connectionWindowBytes: [64 << 10, 0x7fff_ffff],
  reassemblyBytes: [1, 0xffff_ffff],
  handshakeTimeoutMs: [1, 0x7fff_ffff],
  maxQueuedCalls: [0, 0x7fff_ffff],
};

/** `given` completed with the defaults. Throws INVALID_ARGUMENT for an unknown name or a value out of range. */
export function completeLimits(given: Partial<Limits> = {}): Limits {
  for (const [name, value] of Object.entries(given)) {
    const range = RANGES[name as keyof Limits];
    if (range === undefined) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `there is no limit "${name}"; there are ${Object.keys(RANGES).join(", ")}`,
      );
    }
    if (!Number.isInteger(value) || value < range[0] || value > range[1]) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `limits.${name} is ${String(value)}; give an integer from ${range[0]} to ${range[1]}`,
      );
    }
  }
  const maxMessageBytes = given.maxMessageBytes ?? DEFAULTS.maxMessageBytes;
  const reassemblyBytes = Math.min(2 * maxMessageBytes, 0xffff_ffff);
  return { ...DEFAULTS, maxMessageBytes, reassemblyBytes, ...given };
}

/** The limits of a session over `connection`: `limits`, which are `given` completed, but for what differs with large frames. */
export function limitsOver(connection: Connection, limits: Limits, given: Partial<Limits> = {}): Limits {
  return connection.large === undefined ? limits : { ...limits, ...LARGE_DEFAULTS, ...given };
}
