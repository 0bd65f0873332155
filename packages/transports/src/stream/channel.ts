/**
 * What a stream of bytes must offer so that `StreamConnection` can carry frames over it. This is the face of the ByteChannel
 * of `@sluice/native`, which says more of each point; `NodeChannel` (on Node's own streams) and `MemoryChannel` (inside one
 * thread) keep to it too.
 */

/** Indices into `WriteSlab.words`. */
export const START = 0;
export const END = 1;
export const OWNER = 2;
export const HELD = 3;

/**
 * Memory that waits to be written, lent to one channel at a time: `memory[words[START]..words[END])` are the bytes that
 * the carrier has not taken yet. The connection appends at END; the channel advances START. `words[OWNER]` is the id of the
 * channel that owns the slab; it loses it, at any time when none of its bytes are unsent, unless the connection has set
 * `words[HELD]`, as it does while it writes beyond END.
 */
export interface WriteSlab {
  readonly memory: Uint8Array;
  readonly words: Int32Array;
}

/** Whom a byte channel tells; called only from the event loop, never from inside one of the channel's methods. */
export interface ByteChannelHandler {
  /**
   * The slab that the channel reads into holds in `[0..end)` what was carried over from the last call and what has arrived
   * since. Returns how many bytes it keeps to be carried over; it must save them itself and put them at the front of the
   * slab at the next call, because the slab serves all channels of the thread.
   */
  onRead(end: number): number;
  /** After `wantWritable`: the carrier has taken everything that was committed. */
  onWritable(): void;
  /** The peer writes no more; everything it wrote was given to `onRead`. */
  onEnd(): void;
  /** The channel is broken, and closed. */
  onError(error: Error): void;
}

export interface ByteChannel {
  /** Greater than 0, and no other open channel has it. */
  readonly id: number;
  /** Begin to read. Until then nothing is taken from the carrier. */
  start(): void;
  /** A free slab for a channel that owns none. What is put there is flushed at the end of this turn of the event loop. */
  acquire(): WriteSlab;
  /** Give what is unsent to the carrier now, as far as it takes it. The rest follows by itself. */
  flush(): void;
  /** Ask for one `onWritable`. */
  wantWritable(): void;
  /** End the writing direction after what is unsent: the peer then sees its end of file. Idempotent. */
  shutdownWrite(): void;
  /** Release everything at once. Nothing is called after this. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}
