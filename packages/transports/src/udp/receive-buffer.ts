import { FRAME_HEADER_BYTES } from "@sluice/core";
import { readU32 } from "@sluice/core/bytes";
import { MAX_FRAME_BYTES } from "../stream/connection.js";
import { RangeSet } from "./range-set.js";

/**
 * Ranges of bytes that came early, kept at most. A window of packets of 1,200 bytes of which every other one is lost makes some 450; without
 * a limit a peer that sends single bytes makes half a million, among which each further byte has to be put.
 */
export const MAX_EARLY_RANGES = 1024;
/** Buffers kept for reuse by all connections of the thread. */
const FREE_BUFFERS = 8;
const freeFrames: Uint8Array[] = [];
const freeWindows: Uint8Array[] = [];

function takeWindow(bytes: number): Uint8Array {
  const index = freeWindows.findIndex(({ length }) => length === bytes);
  return index < 0 ? new Uint8Array(bytes) : freeWindows.splice(index, 1)[0]!;
}

/** Takes a frame: `memory[start..end)`, valid until it returns. False to have no more. */
export type FrameSink = (memory: Uint8Array, start: number, end: number) => boolean;

/**
 * Puts the stream together again and cuts it into frames. What comes in order is looked at in place; what comes early, or before
 * anybody listens, waits in a ring as long as the window.
 */
export class ReceiveBuffer {
  readonly windowBytes: number;
  /** How far the stream was delivered, or begun to be. */
  delivered = 0;
  /** Where it ends, when that is known. */
  end = Infinity;
  /** Bytes in the ring: the one number `n` at `n % windowBytes`. */
  readonly #early = new RangeSet();
  #ring: Uint8Array | undefined;
  /** A frame that has come in part. */
  #frame: Uint8Array | undefined;
  #frameBytes = 0;

  constructor(windowBytes: number) {
    this.windowBytes = windowBytes;
  }

  /** Up to where the peer may send. */
  get limit(): number {
    return this.delivered + this.windowBytes;
  }

  /** Whether everything that the peer sent was delivered. */
  get complete(): boolean {
    return this.delivered === this.end;
  }

  /** Whether everything that the peer sent is here, delivered or not. */
  get whole(): boolean {
    const early = this.#early;
    return (
      this.complete || (early.count === 1 && early.start(0) <= this.delivered && early.end(0) === this.end)
    );
  }

  /** Whether the peer's end cut a frame off. */
  get inFrame(): boolean {
    return this.#frameBytes > 0;
  }

  /** The stream ends before the byte number `end`. False if that contradicts what came before. */
  finish(end: number): boolean {
    const early = this.#early;
    const reached = early.count > 0 ? early.end(early.count - 1) : this.delivered;
    if (end < reached || (this.end !== Infinity && this.end !== end)) return false;
    this.end = end;
    return true;
  }

  /** How many ranges wait for what must come before them. */
  get earlyRanges(): number {
    return this.#early.count;
  }

  /**
   * `memory[from..to)` are the bytes of the stream from number `start` on, of which the peer may send any more than once. Without
   * a sink they are kept. The caller has checked that they are below `limit`. False if they are dropped, because they would be one range
   * more than is kept: they must come again, and may not be acknowledged.
   */
  add(start: number, memory: Uint8Array, from: number, to: number, sink: FrameSink | undefined): boolean {
    const skip = this.delivered - start;
    if (skip >= to - from) return true;
    if (skip > 0) {
      from += skip;
      start += skip;
    }
    if (sink === undefined || skip < 0) return this.#keep(start, memory, from, to);
    this.delivered += to - from;
    if (this.#cut(memory, from, to, sink)) this.drain(sink);
    return true;
  }

  /**
   * What is kept may have been acknowledged, so that nothing of it can make room. What comes next in the stream is always taken, though, and so is what
   * makes a range longer: there is no gap that could not be filled from its beginning.
   */
  #keep(start: number, memory: Uint8Array, from: number, to: number): boolean {
    const early = this.#early;
    const end = start + (to - from);
    if (early.count >= MAX_EARLY_RANGES && start > this.delivered && !early.touches(start, end)) return false;
    const size = this.windowBytes;
    const ring = (this.#ring ??= takeWindow(size));
    const at = start % size;
    const first = Math.min(to - from, size - at);
    ring.set(memory.subarray(from, from + first), at);
    if (first < to - from) ring.set(memory.subarray(from + first, to), 0);
    early.add(start, end);
    return true;
  }

  /** Delivers what has been kept and is in order now. */
  drain(sink: FrameSink): void {
    const early = this.#early;
    while (early.count > 0 && early.start(0) <= this.delivered) {
      const ring = this.#ring!;
      const at = this.delivered % this.windowBytes;
      const bytes = Math.min(early.end(0) - this.delivered, this.windowBytes - at);
      if (bytes > 0) {
        this.delivered += bytes;
        if (!this.#cut(ring, at, at + bytes, sink)) return;
      }
      if (early.count > 0 && early.end(0) <= this.delivered) early.shift();
    }
    if (early.count === 0) this.#releaseRing();
  }

  /** False if the sink wants no more. */
  #cut(memory: Uint8Array, from: number, to: number, sink: FrameSink): boolean {
    if (this.#frameBytes > 0) {
      from = this.#fill(memory, from, to, FRAME_HEADER_BYTES);
      if (this.#frameBytes < FRAME_HEADER_BYTES) return true;
      const bytes = FRAME_HEADER_BYTES + readU32(this.#frame!, 0);
      if (bytes > MAX_FRAME_BYTES) return sink(this.#frame!, 0, FRAME_HEADER_BYTES);
      from = this.#fill(memory, from, to, bytes);
      if (this.#frameBytes < bytes) return true;
      const frame = this.#frame!;
      this.#frame = undefined;
      this.#frameBytes = 0;
      const more = sink(frame, 0, bytes);
      if (freeFrames.length < FREE_BUFFERS) freeFrames.push(frame);
      if (!more) return false;
    }
    while (to - from >= FRAME_HEADER_BYTES) {
      const bytes = FRAME_HEADER_BYTES + readU32(memory, from);
      if (bytes > MAX_FRAME_BYTES) return sink(memory, from, from + FRAME_HEADER_BYTES);
      if (bytes > to - from) break;
      if (!sink(memory, from, from + bytes)) return false;
      from += bytes;
    }
    if (from < to) this.#fill(memory, from, to, MAX_FRAME_BYTES);
    return true;
  }

  /** Adds to the partial frame until it has `bytes`. Returns how far it has read. */
  #fill(memory: Uint8Array, from: number, to: number, bytes: number): number {
    const count = Math.min(bytes - this.#frameBytes, to - from);
    if (count <= 0) return from;
    this.#frame ??= freeFrames.pop() ?? new Uint8Array(MAX_FRAME_BYTES);
    this.#frame.set(memory.subarray(from, from + count), this.#frameBytes);
    this.#frameBytes += count;
    return from + count;
  }

  #releaseRing(): void {
    if (this.#ring !== undefined && freeWindows.length < FREE_BUFFERS) freeWindows.push(this.#ring);
    this.#ring = undefined;
  }

  /** Gives the memory up: nothing more is received. */
  release(): void {
    this.#early.clear();
    this.#releaseRing();
    if (this.#frame !== undefined && freeFrames.length < FREE_BUFFERS) freeFrames.push(this.#frame);
    this.#frame = undefined;
  }
}
