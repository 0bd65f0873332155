// The global of that name is an accessor, which takes longer than to read the clock.
import { performance } from "node:perf_hooks";
import {
  FRAME_HEADER_BYTES,
  RpcError,
  Status,
  type Connection,
  type ConnectionHandler,
  type Peer,
  type Traits,
} from "@sluice/core";
import type { RingChannel, RingHandler, Segment } from "@sluice/native";
import { Blocks } from "./blocks.js";
import {
  ALIGNMENT,
  AWAKE,
  BLOCK_RECORD,
  BLOCK_RECORD_BYTES,
  dataOffset,
  headOffset,
  padded,
  sleepingOffset,
  tailOffset,
  waitingOffset,
  type Endpoint,
} from "./layout.js";
import { giveBack, takeScratch, type Scratch } from "./scratch.js";

/** The largest frame in a ring, unless half of the ring is smaller. */
export const MAX_FRAME_BYTES = 64 * 1024 + 1024;

/** How much is copied out of the ring at a time. The writer has that room again while the frames are looked at. */
const BATCH_BYTES = 32 * 1024;

/**
 * How much is taken out of blocks at a time. What has arrived is then answered, and let go, before more is copied: of sixteen
 * messages taken at once all would be alive, their blocks in use, and the peer without anything to do meanwhile.
 */
const LARGE_TURN_BYTES = 512 * 1024;

/**
 * How often more is looked for before returning to the addon, which takes 0.4 us each way: one call under way at a time takes 1.7 us
 * by that instead of 2.7. First in microtasks, of which whoever was given something needs a few to answer, one look in each; then
 * for as long as a peer that polls, too, takes to go on. After so many times, or as much time, everybody else has a turn; and
 * at once where more than so many bytes came, which many calls share the way for.
 */
const LINGER_HOPS = 8;
const LINGER_LOOKS = 300;
const LINGER_TURNS = 32;
const LINGER_MS = 0.1;
const LINGER_BYTES = 1024;
/** After how many turns the clock is looked at, which takes 60 ns. */
const TURNS_PER_CLOCK = 4;
/** Where it was in vain so often, such as for a peer on the same processor, only one in so many times is tried. */
const LINGER_VAIN = 8;
const LINGER_SELDOM = 64;

/** Below this a loop is faster than `Uint8Array.set`, which needs a view made for it. */
const LOOP_BYTES = 256;

/** A segment and the sizes of what is in it. */
export interface Rings {
  readonly segment: Segment;
  /** Bytes of each ring. */
  readonly capacity: number;
  /** Bytes of each block; 0 without blocks. */
  readonly blockBytes: number;
}

/** Indices into `RingChannel.words`. */
const TAKEN = 0;
const PUBLISHED = 1;
const WAITING = 2;
const LISTED = 3;
const ALONE = 4;

/** Its `then` is a cheaper way to a microtask than `queueMicrotask`, which makes Node an AsyncResource for each. */
const RESOLVED = Promise.resolve();

const OPEN = 0;
/** An oversized frame came, and all further input is ignored. Sending goes on. */
const DEAF = 1;
const CLOSED = 2;

const NOTHING = new Uint8Array(0);

/**
 * Frames in a pair of rings of shared memory. What is committed is published at once; the peer is woken only if it sleeps.
 *
 * The peer can write to the whole segment at any time, and is not trusted: every word of it is read once, checked, and then
 * used; frames are copied to private memory first and looked at there; this side's own positions are kept privately, and only
 * published.
 */
export class RingConnection implements Connection, RingHandler {
  readonly traits: Traits;
  readonly peer: Peer;
  /** Its blocks, if the segment has any. */
  readonly large: Blocks | undefined;
  memory: Uint8Array;
  rangeStart = 0;
  /** Zero when nothing is reserved. */
  rangeEnd = 0;

  readonly #segment: Segment;
  /** The rings: `memory`, but for a range that is a block. */
  #rings: Uint8Array;
  readonly #channel: RingChannel;
  /** Shared with the addon. */
  readonly #words: Int32Array;
  /** The segment. */
  readonly #shared: Int32Array;
  /** Whether some of it is gone. */
  readonly #fault: Int32Array;
  readonly #capacity: number;
  readonly #maxFrameBytes: number;

  // Indices into #shared, and offsets into the segment.
  readonly #outHead: number;
  readonly #outTail: number;
  readonly #outData: number;
  readonly #inHead: number;
  readonly #inTail: number;
  readonly #inData: number;
  readonly #ownWaiting: number;
  readonly #peerWaiting: number;
  readonly #peerSleeping: number;

  /** Bytes ever published, taken by the peer as last seen, and taken here: all mod 2^32, as int32. */
  #head = 0;
  #peerTail = 0;
  #tail = 0;
  /** The block that is reserved, or -1. */
  #block = -1;

  /** How often more may still be taken in this turn of the event loop, and until when. */
  #turns = 0;
  #lingersUntil = 0;
  /** How many more microtasks have one look each, before the one with many. */
  #hops = 0;
  /** How often that was in vain since it was not. */
  #vain = 0;
  readonly #linger = (): void => this.#lookAgain();

  #handler: ConnectionHandler | undefined;
  #state = OPEN;
  /** Whether `reserve` returned false since the last `onWritable`. */
  #blocked = false;
  #error: Error | undefined;
  #told = false;

  /** Takes ownership of the segment. `open` makes its channel, which must not call its handler before `start`. */
  constructor(
    { segment, capacity, blockBytes }: Rings,
    endpoint: Endpoint,
    open: (handler: RingHandler) => RingChannel,
    peer: Peer,
  ) {
    const other: Endpoint = endpoint === 0 ? 1 : 0;
    this.#segment = segment;
    this.#capacity = capacity;
    this.#maxFrameBytes = Math.min(MAX_FRAME_BYTES, capacity / 2);
    this.traits = { maxFrameBytes: this.#maxFrameBytes, peerDeath: "carrier", reconnectable: true };
    this.peer = peer;
    this.large = blockBytes > 0 ? new Blocks(segment, capacity, blockBytes, endpoint) : undefined;
    this.memory = this.#rings = new Uint8Array(segment.buffer);
    this.#shared = new Int32Array(segment.buffer);
    this.#fault = segment.fault;
    this.#outHead = headOffset(endpoint) >> 2;
    this.#outTail = tailOffset(endpoint) >> 2;
    this.#outData = dataOffset(endpoint, capacity);
    this.#inHead = headOffset(other) >> 2;
    this.#inTail = tailOffset(other) >> 2;
    this.#inData = dataOffset(other, capacity);
    this.#ownWaiting = waitingOffset(endpoint) >> 2;
    this.#peerWaiting = waitingOffset(other) >> 2;
    this.#peerSleeping = sleepingOffset(other) >> 2;
    this.#channel = open(this);
    this.#words = this.#channel.words;
  }

  start(handler: ConnectionHandler): void {
    if (this.#handler !== undefined) throw new Error("start was called twice on one connection");
    this.#handler = handler;
    if (this.#state === CLOSED) queueMicrotask(() => this.notifyClosed());
    else this.#channel.start();
  }

  // Sending

  reserve(min: number): boolean {
    if (this.#state === CLOSED) return false;
    if (min > this.#maxFrameBytes) return this.#reserveBlock(min);
    let free = this.#capacity - ((this.#head - this.#peerTail) >>> 0);
    if (free < this.#maxFrameBytes) {
      free = this.#look();
      if (free < 0) return false;
      if (free < min) {
        free = this.#wait(min);
        if (free < min) return false;
      }
    }
    const start = this.#outData + (this.#head & (this.#capacity - 1));
    this.memory = this.#rings;
    this.rangeStart = start;
    this.rangeEnd = start + (free < this.#maxFrameBytes ? free : this.#maxFrameBytes);
    return true;
  }

  /** A block, and room for the record that tells of it. */
  #reserveBlock(min: number): boolean {
    if (!this.reserve(BLOCK_RECORD_BYTES)) return false;
    this.#takeRange(min);
    return true;
  }

  /** What is reserved is a block of at least `min` bytes. */
  #takeRange(min: number): void {
    const { large } = this;
    const block = large?.free() ?? -1;
    if (block < 0 || min > large!.maxBytes) {
      throw new RangeError(`a range of ${min} bytes, for which no memory is available`);
    }
    this.memory = large!.memory(block);
    this.#block = block;
    this.rangeStart = 0;
    this.rangeEnd = large!.maxBytes;
  }

  widen(used: number, min: number): void {
    const from = this.rangeStart;
    this.#takeRange(min);
    this.memory.set(this.#rings.subarray(from, from + used), this.rangeStart);
  }

  /** Asks how much room the peer has made. -1 if what it says cannot be. */
  #look(): number {
    // SYNC POINT 2: the tail, then the room that it gives.
    const tail = Atomics.load(this.#shared, this.#outTail);
    const used = (this.#head - tail) >>> 0;
    if (used > (this.#head - this.#peerTail) >>> 0 || used % ALIGNMENT !== 0) {
      this.destroy(this.#corrupt(`it has taken bytes that were never published (${used} are unread)`));
      return -1;
    }
    this.#peerTail = tail;
    return this.#capacity - used;
  }

  /**
   * Has the peer tell when half the ring is free, so that the two do not take turns for every frame. Who was refused before
   * still waits for that when a smaller reservation succeeds.
   */
  #wait(min: number): number {
    if (this.#blocked) return this.#look();
    this.#awaitRoom(this.#capacity >> 1);
    // SYNC POINT 4: the wish before the last look; the peer makes room before it looks for the wish.
    const free = this.#look();
    if (free >= min) this.#awaitRoom(0);
    return free;
  }

  #awaitRoom(wanted: number): void {
    this.#blocked = wanted > 0;
    this.#words[WAITING] = wanted;
    Atomics.store(this.#shared, this.#ownWaiting, wanted);
  }

  commit(used: number): void {
    if (this.rangeStart + used > this.rangeEnd) {
      throw new RangeError(`commit of ${used} bytes exceeds the reserved range`);
    }
    this.rangeEnd = 0;
    if (this.#state === CLOSED) return this.#release();
    if (this.#block >= 0) used = this.#useBlock(used);
    const words = this.#words;
    const head = (this.#head + padded(used)) | 0;
    this.#head = head;
    words[PUBLISHED] = head;
    // SYNC POINT 1 and 3: the record, then the head that publishes it, then a look at whether the peer sleeps.
    Atomics.store(this.#shared, this.#outHead, head);
    this.#wakePeer();
    if (words[LISTED] === 0) this.#channel.watch();
  }

  /** Writes the record of the block that was reserved, in which there is a frame of `bytes`. Returns the record's size. */
  #useBlock(bytes: number): number {
    const at = (this.#outData + (this.#head & (this.#capacity - 1))) >> 2;
    this.#shared[at] = BLOCK_RECORD | this.#block;
    this.#shared[at + 1] = bytes;
    this.large!.use(this.#block);
    this.#block = -1;
    return BLOCK_RECORD_BYTES;
  }

  #wakePeer(): void {
    if (Atomics.load(this.#shared, this.#peerSleeping) === AWAKE) return;
    // SYNC POINT 5: of several who see the flag, one takes it down.
    const how = Atomics.exchange(this.#shared, this.#peerSleeping, AWAKE);
    if (how === AWAKE) return;
    try {
      this.#channel.ring(how);
    } catch (error) {
      // Such as a flag of no meaning. Whoever sends must not be told: the connection ends.
      this.destroy(this.#broken(`cannot be woken: ${(error as Error).message}`));
    }
  }

  cancel(): void {
    this.rangeEnd = 0;
    this.#block = -1;
    if (this.#state === CLOSED) this.#release();
  }

  /** What is committed is published already. */
  flush(): void {}

  get unsentBytes(): number {
    if (this.#state === CLOSED) return 0;
    const used = (this.#head - Atomics.load(this.#shared, this.#outTail)) >>> 0;
    return used < this.#capacity ? used : this.#capacity;
  }

  // Ending

  /** The peer still takes what is in its ring: it has the segment too. */
  close(): void {
    this.destroy();
  }

  destroy(error?: Error): void {
    if (this.#state === CLOSED) {
      // Such as after a `close` that is still to be told of.
      this.#error ??= error;
      return;
    }
    this.#end(error);
    if (this.#handler !== undefined) queueMicrotask(() => this.notifyClosed());
  }

  #end(error: Error | undefined): void {
    this.#state = CLOSED;
    this.#error = error;
    this.#channel.close();
    // While a range is reserved its user is still writing there: `commit` or `cancel` releases it then.
    if (this.rangeEnd === 0) this.#release();
  }

  #release(): void {
    this.memory = this.#rings = NOTHING;
    this.large?.close();
    this.#segment.close();
  }

  /** Whether the connection is over. */
  get ended(): boolean {
    return this.#state === CLOSED;
  }

  /** Tells of the end now, if there was one, instead of in a microtask. */
  notifyClosed(): void {
    if (this.#state !== CLOSED || this.#told) return;
    this.#told = true;
    this.#handler?.onClose(this.#error);
  }

  ref(): void {
    this.#channel.ref();
  }

  unref(): void {
    this.#channel.unref();
  }

  // Receiving: called by the channel

  onWake(): void {
    const alone = this.#words[ALONE] === 1;
    this.#turns = alone ? LINGER_TURNS : 1;
    if (alone) this.#lingersUntil = performance.now() + LINGER_MS;
    this.#serve();
  }

  /** Takes what there is. If it was little, and another turn is left, more is looked for. */
  #serve(): void {
    const before = this.#tail;
    try {
      this.#take(LARGE_TURN_BYTES);
      if (this.#blocked && this.#state !== CLOSED) this.#offerRoom();
    } catch (error) {
      return this.#fail(error);
    }
    if (--this.#turns <= 0 || ((this.#tail - before) | 0) > LINGER_BYTES || this.#state === CLOSED) return;
    if (this.#turns % TURNS_PER_CLOCK === 0 && performance.now() > this.#lingersUntil) return;
    if (this.#vain >= LINGER_VAIN) {
      if (++this.#vain < LINGER_VAIN + LINGER_SELDOM) return;
      this.#vain = LINGER_VAIN - 1;
    }
    this.#hops = LINGER_HOPS;
    void RESOLVED.then(this.#linger);
  }

  #lookAgain(): void {
    if (this.#state === CLOSED) return;
    if (this.look(this.#hops === 0 ? LINGER_LOOKS : 1)) {
      this.#vain = 0;
      this.#serve();
    } else if (this.#hops-- > 0) void RESOLVED.then(this.#linger);
    else this.#vain++;
  }

  onEnd(): void {
    if (this.#state === CLOSED) return;
    try {
      this.#take(Infinity);
    } catch (error) {
      return this.#fail(error);
    }
    if (this.#state === CLOSED) return;
    this.#end(undefined);
    this.notifyClosed();
  }

  /** Whether something to take comes while this looks for it `times` times. */
  look(times: number): boolean {
    const shared = this.#shared;
    const at = this.#inHead;
    const tail = this.#tail;
    for (let looked = 0; looked < times; looked++) {
      if (Atomics.load(shared, at) !== tail) return true;
    }
    return false;
  }

  /**
   * Takes what was published before this began, and no more, so that timers and others have their turn; of what is in blocks only
   * until it is `turnBytes`. If it leaves something the channel sees that, and calls again.
   */
  #take(turnBytes: number): void {
    if (this.#state === CLOSED) return;
    // SYNC POINT 1: the head that publishes records, then the records.
    const head = Atomics.load(this.#shared, this.#inHead);
    const available = (head - this.#tail) >>> 0;
    if (available === 0) return this.#checkFault();
    if (available > this.#capacity || available % ALIGNMENT !== 0) {
      throw this.#corrupt(`it has published ${available} bytes in a ring of ${this.#capacity}`);
    }
    if (this.#state === DEAF) return this.#advance(available, head);
    const scratch = takeScratch();
    let large = 0;
    try {
      for (let left = available; left > 0 && this.#state === OPEN;) {
        const bytes = this.#measure(left);
        if (bytes < 0) {
          if (!this.#isBlock()) return this.#refuseOversized(scratch);
          large += this.#takeBlock(head);
          if (large >= turnBytes) return;
          left -= BLOCK_RECORD_BYTES;
          continue;
        }
        this.#copy(scratch, bytes);
        this.#advance(bytes, head);
        left -= bytes;
        this.#deliver(scratch, bytes);
      }
    } finally {
      giveBack(scratch);
    }
  }

  /** How many of `left` bytes, whole records, to take at once; -1 when the first is longer than any frame in the ring may be. */
  #measure(left: number): number {
    const base = this.#inData + (this.#tail & (this.#capacity - 1));
    let bytes = 0;
    while (bytes < left) {
      const length = this.#shared[(base + bytes) >> 2]! >>> 0;
      const size = padded(FRAME_HEADER_BYTES + length);
      if (length > this.#maxFrameBytes - FRAME_HEADER_BYTES) return bytes === 0 ? -1 : bytes;
      if (bytes + size > left) {
        if (bytes > 0) return bytes;
        throw this.#corrupt(`it has published ${left} bytes of a frame of ${size}`);
      }
      if (bytes > 0 && bytes + size > BATCH_BYTES) break;
      bytes += size;
    }
    return bytes;
  }

  /** Whether the record at the tail, which is not of a frame in the ring, tells of a block. */
  #isBlock(): boolean {
    if (this.large === undefined) return false;
    const at = this.#inData + (this.#tail & (this.#capacity - 1));
    return (this.#shared[at >> 2]! & BLOCK_RECORD) !== 0;
  }

  /** Takes the frame in the block that the record at the tail tells of. Returns its size. */
  #takeBlock(head: number): number {
    const at = (this.#inData + (this.#tail & (this.#capacity - 1))) >> 2;
    const block = (this.#shared[at]! & ~BLOCK_RECORD) >>> 0;
    const bytes = this.#shared[at + 1]! >>> 0;
    const frame = bytes < FRAME_HEADER_BYTES ? undefined : this.large!.receive(block, bytes);
    if (frame === undefined)
      throw this.#corrupt(`it has published a frame of ${bytes} bytes in block ${block}`);
    this.#advance(BLOCK_RECORD_BYTES, head);
    this.#turns = 1;
    this.#handler!.onLargeFrame!(frame);
    return bytes;
  }

  #copy(scratch: Scratch, bytes: number): void {
    const start = this.#inData + (this.#tail & (this.#capacity - 1));
    if (bytes > LOOP_BYTES) {
      scratch.bytes.set(this.#rings.subarray(start, start + bytes));
      return;
    }
    const from = start >> 2;
    const shared = this.#shared;
    const words = scratch.words;
    for (let index = 0, count = bytes >> 2; index < count; index++) words[index] = shared[from + index]!;
  }

  /** Gives the room of `bytes` back, and wakes a peer that sleeps until there is as much as it wants. */
  #advance(bytes: number, head: number): void {
    const tail = (this.#tail + bytes) | 0;
    this.#tail = tail;
    this.#words[TAKEN] = tail;
    this.#checkFault();
    // SYNC POINT 2 and 4: the copy, then the tail that gives its room, then a look at whether the peer waits for it.
    Atomics.store(this.#shared, this.#inTail, tail);
    const wanted = Atomics.load(this.#shared, this.#peerWaiting) >>> 0;
    if (wanted !== 0 && this.#capacity - ((head - tail) >>> 0) >= wanted) this.#wakePeer();
  }

  /** The lengths may have changed since they were measured: only what they are in the copy counts from here on. */
  #deliver(scratch: Scratch, bytes: number): void {
    const memory = scratch.bytes;
    const handler = this.#handler!;
    for (let start = 0; start < bytes && this.#state === OPEN;) {
      const length = scratch.words[start >> 2]! >>> 0;
      const end = start + FRAME_HEADER_BYTES + length;
      if (end > bytes) throw this.#corrupt("the length of a frame changed while it was read");
      handler.onFrame(memory, start, end);
      start = padded(end);
    }
  }

  /** The header alone, so that the session can refuse it and say why. */
  #refuseOversized(scratch: Scratch): void {
    this.#copy(scratch, padded(FRAME_HEADER_BYTES));
    this.#state = DEAF;
    if (scratch.words[0]! >>> 0 <= this.#maxFrameBytes - FRAME_HEADER_BYTES) {
      throw this.#corrupt("the length of a frame changed while it was read");
    }
    this.#handler!.onFrame(scratch.bytes, 0, FRAME_HEADER_BYTES);
  }

  #offerRoom(): void {
    const free = this.#look();
    if (free < this.#words[WAITING]!) return;
    this.#awaitRoom(0);
    this.#handler!.onWritable();
  }

  #checkFault(): void {
    if (this.#fault[0] !== 0) throw this.#broken("");
  }

  #corrupt(how: string): RpcError {
    return this.#broken(`corrupted its ring: ${how}`);
  }

  /** Why the connection must end: what the peer has done, unless it only seems so for the zeroes that replace lost memory. */
  #broken(what: string): RpcError {
    const { address } = this.peer;
    return new RpcError(
      Status.UNAVAILABLE,
      this.#fault[0] === 0
        ? `the peer at ${address} ${what}`
        : `the shared memory with ${address} is gone in part: its file was truncated, or its file system is full`,
    );
  }

  #fail(error: unknown): void {
    if (this.#state === CLOSED) return;
    this.#end(error instanceof Error ? error : new Error(String(error)));
    this.notifyClosed();
  }
}
