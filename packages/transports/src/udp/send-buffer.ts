import { RangeSet } from "./range-set.js";

/** Two largest frames; and what a connection begins with that has nothing under way, and mostly needs no more. */
const CHUNK_BYTES = 130 * 1024;
const FIRST_CHUNK_BYTES = 16 * 1024;
/** Chunks of each size kept for reuse by all connections of the thread. */
const FREE_CHUNKS = 16;
const free: Uint8Array[] = [];
const freeFirst: Uint8Array[] = [];

/** Bytes that were committed and not acknowledged, as chunks hold them: what a connection keeps at most. */
const MAX_CHUNKS = 12;
/** Bytes that have never been sent: what a small frame may have to wait for. As much as a session's slab elsewhere. */
const MAX_UNSENT_BYTES = 192 * 1024;

/** Part of the stream, from the byte number `start` on, at the front of `memory`. */
interface Chunk {
  readonly memory: Uint8Array;
  readonly start: number;
  /** Behind the last byte that was committed. */
  end: number;
}

/**
 * The stream of bytes that was committed, from the first byte that is not acknowledged: new bytes, bytes under way, and bytes that were lost and
 * go again first. Frames lie in one piece, so that they can be written in place.
 */
export class SendBuffer {
  readonly #chunks: Chunk[] = [];
  /** Acknowledged, above the first byte that is not. */
  readonly #acked = new RangeSet();
  readonly #lost = new RangeSet();
  /** Whether a range is reserved in the last chunk. */
  #held = false;
  /** The first byte that is not acknowledged, the first that was never sent, and the one behind the last. */
  base = 0;
  next = 0;
  end = 0;

  get unsent(): number {
    return this.end - this.next;
  }

  /** The memory behind the last byte, with room for `min` bytes; undefined if there is none. */
  reserve(min: number): { readonly memory: Uint8Array; readonly at: number } | undefined {
    if (this.unsent > 0 && this.unsent + min > MAX_UNSENT_BYTES) return undefined;
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.memory.length - (chunk.end - chunk.start) < min) {
      if (this.#chunks.length === MAX_CHUNKS) return undefined;
      const memory =
        this.#chunks.length === 0 && min <= FIRST_CHUNK_BYTES / 2
          ? (freeFirst.pop() ?? new Uint8Array(FIRST_CHUNK_BYTES))
          : (free.pop() ?? new Uint8Array(CHUNK_BYTES));
      chunk = { memory, start: this.end, end: this.end };
      this.#chunks.push(chunk);
    }
    this.#held = true;
    return { memory: chunk.memory, at: chunk.end - chunk.start };
  }

  /** Ends a reservation: the first `bytes` of it, which may be none, are part of the stream. */
  commit(bytes: number): void {
    this.#held = false;
    this.end += bytes;
    const chunk = this.#chunks.at(-1);
    if (chunk !== undefined) chunk.end = this.end;
    if (bytes === 0) this.#trim();
  }

  /** Whether so much is free again that waiting for more would gain nothing. */
  get hasRoom(): boolean {
    return this.unsent <= MAX_UNSENT_BYTES / 2 && this.#chunks.length <= MAX_CHUNKS / 2;
  }

  /** Whether there are bytes to send, of those below `limit` as far as they are new. */
  ready(limit: number): boolean {
    return this.#lost.count > 0 || this.next < Math.min(this.end, limit);
  }

  /** How many the next `take` finds. */
  available(limit: number): number {
    if (this.#lost.count > 0) return this.#lost.end(0) - this.#lost.start(0);
    return Math.min(this.end, limit) - this.next;
  }

  /**
   * Copies up to `room` bytes that are to be sent to `memory[at..]`: lost ones first, else new ones below `limit`. Sets `start`
   * to the first one's number; returns how many there are.
   */
  take(memory: Uint8Array, at: number, room: number, limit: number): number {
    let bytes: number;
    if (this.#lost.count > 0) {
      this.start = this.#lost.start(0);
      bytes = Math.min(room, this.#lost.end(0) - this.start);
      this.#lost.remove(this.start, this.start + bytes);
    } else {
      this.start = this.next;
      bytes = Math.min(room, this.end - this.next, limit - this.next);
      this.next += bytes;
    }
    for (let copied = 0; copied < bytes;) {
      const chunk = this.#chunkOf(this.start + copied);
      const from = this.start + copied - chunk.start;
      const count = Math.min(bytes - copied, chunk.end - chunk.start - from);
      memory.set(chunk.memory.subarray(from, from + count), at + copied);
      copied += count;
    }
    return bytes;
  }

  /** Of the last `take`. */
  start = 0;

  #chunkOf(position: number): Chunk {
    const chunks = this.#chunks;
    let index = chunks.length - 1;
    while (chunks[index]!.start > position) index--;
    return chunks[index]!;
  }

  onAcked(start: number, end: number): void {
    if (this.#lost.count > 0) this.#lost.remove(start, end);
    if (start > this.base) return this.#acked.add(start, end);
    this.base = Math.max(this.base, end);
    while (this.#acked.count > 0 && this.#acked.start(0) <= this.base) {
      this.base = Math.max(this.base, this.#acked.end(0));
      this.#acked.shift();
    }
    this.#trim();
  }

  #trim(): void {
    const chunks = this.#chunks;
    while (chunks.length > 0 && chunks[0]!.end <= this.base && !(this.#held && chunks.length === 1)) {
      recycle(chunks.shift()!);
    }
  }

  /** The bytes `start..end` go again, but for what has arrived after all. */
  onLost(start: number, end: number): void {
    const acked = this.#acked;
    this.#lost.add(Math.max(start, this.base), end);
    for (let index = acked.find(start); index < acked.count && acked.start(index) < end; index++) {
      this.#lost.remove(acked.start(index), acked.end(index));
    }
  }

  /** Gives the memory up: nothing more is sent. Whoever has reserved a range writes into memory that nobody else gets. */
  release(): void {
    this.#acked.clear();
    this.#lost.clear();
    if (this.#held) this.#chunks.pop();
    for (const chunk of this.#chunks.splice(0)) recycle(chunk);
  }
}

function recycle({ memory }: Chunk): void {
  const pool = memory.length === CHUNK_BYTES ? free : freeFirst;
  if (pool.length < FREE_CHUNKS) pool.push(memory);
}
