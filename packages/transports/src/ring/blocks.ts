import { FRAME_HEADER_BYTES, type LargeFrame, type LargeFrames } from "@sluice/core";
import type { Segment } from "@sluice/native";
import { BLOCKS, FREE, USED, blockOffset, blocksOffset, blockStateOffset, type Endpoint } from "./layout.js";

/** How many blocks keep their memory while they are not used. */
const KEPT_BLOCKS = 4;
/** For how long at least the others keep it. */
const KEPT_MS = 1000;

/**
 * The blocks of one end of a segment: memory for frames that are too large for the ring, which only tells of them. A reader may
 * keep a block for as long as it likes, while the ring goes on; a writer that has none left uses the ring.
 *
 * The peer can write to all of it at any time. What it says of a block is a wish: a state that it changes at the wrong time makes
 * it read other bytes than it was sent, and nothing else.
 */
export class Blocks implements LargeFrames {
  /** Bytes of one block. */
  readonly maxBytes: number;

  readonly #segment: Segment;
  /**
   * Of the blocks that have been needed, by where they are: most connections need none, and others the first few. V8 counts what it is
   * shown as external memory, for the sake of which it collects garbage.
   */
  readonly #memories = new Map<number, Uint8Array>();
  readonly #shared: Int32Array;
  readonly #endpoint: Endpoint;
  /** Where in the segment the blocks begin. */
  readonly #base: number;
  /** Which outbound blocks have been published, and were not seen free since: a bit each. */
  #used = 0;
  /** Of how many outbound blocks, the lowest, the memory has not been given back; and how many were used since the timer was set. */
  #touched = 0;
  #recent = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** Inbound blocks that have not been released. */
  readonly #received: (BlockFrame | undefined)[] = [];

  constructor(segment: Segment, capacity: number, blockBytes: number, endpoint: Endpoint) {
    this.#segment = segment;
    this.#shared = new Int32Array(segment.buffer);
    this.#endpoint = endpoint;
    this.#base = blocksOffset(capacity);
    this.maxBytes = blockBytes;
  }

  get available(): boolean {
    return this.free() >= 0;
  }

  /** The number of an outbound block that may be written, always the lowest, whose memory is in use already; -1 if there is none. */
  free(): number {
    if (this.#closed) return -1;
    for (let block = 0; block < BLOCKS; block++) {
      if ((this.#used & (1 << block)) === 0) return block;
      // SYNC POINT 8: the state, then what is written to the block.
      if (Atomics.load(this.#shared, blockStateOffset(this.#endpoint, block) >> 2) !== FREE) continue;
      this.#used &= ~(1 << block);
      return block;
    }
    return -1;
  }

  /** The memory of an outbound block. */
  memory(block: number): Uint8Array {
    return this.#memoryAt(this.#start(this.#endpoint, block));
  }

  /** Where in the segment a block begins that `writer` writes. */
  #start(writer: Endpoint, block: number): number {
    return this.#base + blockOffset(writer, block, this.maxBytes);
  }

  /** The block that begins at `start`. */
  #memoryAt(start: number): Uint8Array {
    let memory = this.#memories.get(start);
    if (memory === undefined) {
      memory = new Uint8Array(this.#segment.lend(start, this.maxBytes));
      this.#memories.set(start, memory);
    }
    return memory;
  }

  /** The block has been written. The record that tells of it must follow. */
  use(block: number): void {
    this.#used |= 1 << block;
    if (block >= this.#recent) this.#recent = block + 1;
    if (block >= KEPT_BLOCKS) this.#trimLater();
    Atomics.store(this.#shared, blockStateOffset(this.#endpoint, block) >> 2, USED);
  }

  #trimLater(): void {
    this.#timer ??= setTimeout(() => this.#trim(), KEPT_MS).unref();
  }

  /** Gives the memory back of what a burst has used. */
  #trim(): void {
    this.#timer = undefined;
    this.#touched = Math.max(this.#touched, this.#recent);
    const keep = Math.max(this.#recent, KEPT_BLOCKS);
    this.#recent = 0;
    while (this.#touched > keep) {
      const block = this.#touched - 1;
      // SYNC POINT 8: the state, then what becomes of the block.
      if (Atomics.load(this.#shared, blockStateOffset(this.#endpoint, block) >> 2) !== FREE) break;
      this.#segment.discard(this.#start(this.#endpoint, block), this.maxBytes);
      this.#touched = block;
    }
    if (this.#touched > KEPT_BLOCKS) this.#trimLater();
  }

  /** The frame of `bytes` in an inbound block; undefined if there can be none. */
  receive(block: number, bytes: number): BlockFrame | undefined {
    if (block >= BLOCKS || bytes > this.maxBytes || this.#received[block] !== undefined) return undefined;
    const writer: Endpoint = this.#endpoint === 0 ? 1 : 0;
    const start = this.#start(writer, block);
    const giveBack = (): void => {
      this.#received[block] = undefined;
      // SYNC POINT 8: the last look at the block, then its state.
      Atomics.store(this.#shared, blockStateOffset(writer, block) >> 2, FREE);
    };
    const frame = new BlockFrame(this.#segment, start, this.#memoryAt(start), bytes, giveBack);
    return (this.#received[block] = frame);
  }

  /** The segment is about to go: nobody may look at it any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const frame of this.#received) frame?.release();
    for (const memory of this.#memories.values()) this.#segment.recall(memory.buffer as ArrayBuffer);
    this.#memories.clear();
  }
}

class BlockFrame implements LargeFrame {
  readonly memory: Uint8Array;
  readonly start = 0;
  readonly end: number;
  readonly #segment: Segment;
  readonly #base: number;
  #lent: ArrayBuffer[] = [];
  #giveBack: (() => void) | undefined;

  /** The first `bytes` of `memory`, which begins at `base` in the segment. */
  constructor(segment: Segment, base: number, memory: Uint8Array, bytes: number, giveBack: () => void) {
    this.#segment = segment;
    this.#base = base;
    this.memory = memory;
    this.end = bytes;
    this.#giveBack = giveBack;
  }

  get lent(): boolean {
    return this.#lent.length > 0;
  }

  lend(start: number, end: number): Uint8Array {
    if (this.#giveBack === undefined) throw new Error("the frame has been released");
    // What begins with the frame is lent already, to the connection.
    if (!(start >= FRAME_HEADER_BYTES && start < end && end <= this.end))
      throw new RangeError("beyond the frame's payload");
    const buffer = this.#segment.lend(this.#base + start, end - start);
    this.#lent.push(buffer);
    return new Uint8Array(buffer);
  }

  release(): void {
    const giveBack = this.#giveBack;
    if (giveBack === undefined) return;
    this.#giveBack = undefined;
    for (const buffer of this.#lent) this.#segment.recall(buffer);
    this.#lent = [];
    giveBack();
  }
}
