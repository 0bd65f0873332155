import type { Channel } from "./channel.js";
import type { Metadata, MetadataValue } from "./metadata.js";
import type { Peer } from "./transport.js";

/** What a handler is told of its call, and how it answers beside its messages. Valid until the handler settles. */
export interface ServerContext {
  /** `package.Service/Method`. */
  readonly method: string;
  /** Aborted when the call is cancelled, its deadline passes or the connection ends. Made when first read. */
  readonly signal: AbortSignal;
  /** When the caller gives up, if it said. */
  readonly deadline: Date | undefined;
  /** What the caller sent with the call. */
  readonly metadata: Metadata;
  /** What the kernel vouches for about the caller. */
  readonly peer: Peer;
  /** The way back: calls made here go to the caller, over the same connection. */
  readonly channel: Channel;
  /** Add to the response's headers, which leave with the first message. Throws FAILED_PRECONDITION after that. */
  setHeader(name: string, value: MetadataValue): void;
  /** Send the headers now, before any message. */
  sendHeader(): void;
  /** Add to the response's trailers, which leave with the status. */
  setTrailer(name: string, value: MetadataValue): void;
}
