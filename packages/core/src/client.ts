import type { Metadata, MetadataInit } from "./metadata.js";
import type { ServerContext } from "./server.js";

/** Options of one call. */
export interface CallOptions {
  /** Fail with DEADLINE_EXCEEDED this many milliseconds from now. */
  readonly timeoutMs?: number;
  /** Fail with DEADLINE_EXCEEDED at this time (a Date, or milliseconds since the epoch). The earlier of the two counts. */
  readonly deadline?: Date | number;
  /** Cancels the call when aborted. */
  readonly signal?: AbortSignal;
  /** Sent with the call. */
  readonly metadata?: MetadataInit;
  /** The handler's context that this call is made for: its deadline, and its cancellation, become this call's too. */
  readonly parent?: ServerContext;
  /** Wait for a connection instead of failing with UNAVAILABLE while there is none. Default: the channel's. */
  readonly waitForReady?: boolean;
  /** Called once with the response's headers, before its first message (or before the end, if there is none). */
  readonly onHeader?: (header: Metadata) => void;
  /** Called once with the response's trailers, before the call settles. */
  readonly onTrailer?: (trailer: Metadata) => void;
}
