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

/** The defaults of the two windows, in bytes: on most connections, and on those with memory for large frames. */
const WINDOWS = { stream: 256 << 10, connection: 16 << 20 } as const;
const LARGE_WINDOWS = { stream: 2 << 20, connection: 32 << 20 } as const;

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
  if (typeof given !== "object" || given === null) {
    throw new RpcError(Status.INVALID_ARGUMENT, `limits must be an object, not ${String(given)}`);
  }
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
  return withDefaults(given, WINDOWS);
}

/** The limits of a session over `connection`: `limits`, which are `given` completed, but for what differs with large frames. */
export function limitsOver(connection: Connection, limits: Limits, given: Partial<Limits> = {}): Limits {
  if (connection.large === undefined) return limits;
  const { streamWindowBytes, connectionWindowBytes } = given;
  return withDefaults({ ...limits, streamWindowBytes, connectionWindowBytes }, LARGE_WINDOWS);
}

/**
 * One literal, so that the limits of all connections have one shape in V8: those of objects that are spread together have one each, and
 * with many connections every look at a limit would be a search.
 */
function withDefaults(
  given: { readonly [Name in keyof Limits]?: number | undefined },
  windows: typeof WINDOWS | typeof LARGE_WINDOWS,
): Limits {
  const { maxMessageBytes = 4 << 20 } = given;
  return {
    maxMessageBytes,
    maxMetadataBytes: given.maxMetadataBytes ?? 16 << 10,
    maxConcurrentStreams: given.maxConcurrentStreams ?? 1024,
    streamWindowBytes: given.streamWindowBytes ?? windows.stream,
    connectionWindowBytes: given.connectionWindowBytes ?? windows.connection,
    reassemblyBytes: given.reassemblyBytes ?? Math.min(2 * maxMessageBytes, 0xffff_ffff),
    handshakeTimeoutMs: given.handshakeTimeoutMs ?? 10_000,
    maxQueuedCalls: given.maxQueuedCalls ?? 65_536,
  };
}
