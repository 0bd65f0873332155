/**
 * What a stream of bytes must offer so that `StreamConnection` can carry frames over it. `@sluice/native`'s ByteChannel
 * is one; `NodeChannel` (on Node's own streams) and `MemoryChannel` (inside one process) are the others.
 */

/** Indices into `WriteSlab.words`. */
export const START = 0;
export const END = 1;
export const OWNER = 2;

/**
 * Memory that waits to be written, lent to one channel at a time: `memory[words[START]..words[END])` are the bytes that
 * the carrier has not taken yet. The connection appends at END; the channel advances START. `words[OWNER]` changes when the
 * slab passes to another channel, which happens only when it is empty and never while JavaScript of its user runs.
 */
export interface WriteSlab {
  readonly memory: Uint8Array;
  readonly words: Int32Array | Uint32Array;
}

/** Whom a byte channel tells; called only from the event loop, never from inside one of the channel's methods. */
export interface ByteChannelHandler {
  /**
   * `readSlab[0..end)` holds what was carried over from the last call and what has arrived since. Returns how many
   * bytes it keeps to be carried over; it must save them itself and put them at the front of the slab at the next call,
   * because the slab serves all channels of the thread. At most half the slab may be carried over.
   */
  onRead(end: number): number;
  /** After `wantWritable`: the carrier has taken everything that was committed. */
  onWritable(): void;
  /** The peer writes no more; everything it wrote was given to `onRead`. */
  onEnd(): void;
  /** The channel is broken. Nothing more follows. */
  onError(error: Error): void;
}

export interface ByteChannel {
  /** Begin to read. Until then nothing is taken from the carrier. */
  start(): void;
  /** The slab that the channel owns, or a fresh one. Idle channels own none. */
  acquire(): WriteSlab;
  /** Flush at the end of this turn of the event loop. Needed once each time an empty slab gets its first bytes. */
  schedule(): void;
  /** Give what is committed to the carrier now, as far as it takes it. The rest follows by itself. */
  flush(): void;
  /** Ask for one `onWritable`. */
  wantWritable(): void;
  /** End the writing direction. Only when nothing is unsent. The peer sees its end of file. */
  shutdownWrite(): void;
  /** Release the descriptors and the slab at once. Nothing is called after this. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}
