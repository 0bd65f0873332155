import {
  FRAME_HEADER_BYTES,
  RpcError,
  Status,
  type Connection,
  type ConnectionHandler,
  type Peer,
  type Traits,
} from "@sluice/core";
import { readU32 } from "@sluice/core/bytes";
import { release, save } from "./carry.js";
import {
  END,
  HELD,
  OWNER,
  START,
  type ByteChannel,
  type ByteChannelHandler,
  type WriteSlab,
} from "./channel.js";

/** The largest frame over a stream of bytes: 64 KiB of payload, its header, and room for the session's own fields. */
export const MAX_FRAME_BYTES = 64 * 1024 + 1024;

/** How long `close` waits for the peer's end of file once the carrier has taken everything. */
export const LINGER_MS = 2000;
/**
 * How long `close` waits while the carrier takes nothing more of what was committed. Longer, since a carrier takes in large
 * steps: a Unix socket when three quarters of its 2 MiB have been read, TCP when a third of up to 4 MiB has been acknowledged.
 */
export const STALL_MS = 5000;

/**
 * What is committed in one turn goes in steps instead of all at its end, so that the peer works on the first part while this end
 * still produces the rest. Otherwise a full window goes back and forth, and one of the two processes always waits. A step is so
 * many bytes, or half of the frames that there were between two reads lately, and then twice as many each time: of fewer frames
 * than this, the system calls for the halves would take longer than it saves.
 */
const STEP_BYTES = 64 * 1024;
const MIN_STEP_FRAMES = 8;
/** How much of it is left at each read that was followed by fewer. */
const KEPT_OF_MOST_FRAMES = 511 / 512;

const NOTHING = new Uint8Array(0);

const OPEN = 0;
/** An oversized frame came: the position in the stream is lost, so all further input is ignored. Sending goes on. */
const DEAF = 1;
/** `close` was called: what was committed is being delivered, input is discarded. */
const CLOSING = 2;
const CLOSED = 3;

/**
 * Frames over a stream of bytes: finds the end of each frame by the length in its header, in place, in the slab that the
 * bytes were read into. An idle connection holds no buffer at all.
 *
 * A frame that is longer than `traits.maxFrameBytes` is not waited for: its header alone is given to `onFrame` as a frame
 * whose length field contradicts its length, so that the session can refuse it and say why; what follows is ignored.
 */
export class StreamConnection implements Connection, ByteChannelHandler {
  readonly traits: Traits;
  readonly peer: Peer;
  memory: Uint8Array = NOTHING;
  rangeStart = 0;
  /** Zero when nothing is reserved. */
  rangeEnd = 0;

  readonly #channel: ByteChannel;
  readonly #input: Uint8Array;
  readonly #maxFrameBytes: number;
  #handler: ConnectionHandler | undefined;
  #state = OPEN;
  /** Whether `reserve` returned false since the last `onWritable`. */
  #blocked = false;
  #referenced = true;
  /** The slab that the channel owned last; its owner word says whether it still does. */
  #slab: WriteSlab | undefined;
  /** Where in the slab the next step ends. */
  #stepEnd = 0;
  /** How many frames were committed since the last read, and after how many the next step ends. */
  #frames = 0;
  #framesEnd = MIN_STEP_FRAMES;
  /** The most that were committed between two reads, as far as it counts still. */
  #mostFrames = 0;
  #carry: Uint8Array | undefined;
  #carried = 0;
  #linger: NodeJS.Timeout | undefined;
  #error: Error | undefined;
  #told = false;

  /**
   * `open` makes the channel, which must not call its handler before `start`; `input` is the slab that the channel reads
   * into.
   */
  constructor(
    open: (handler: ByteChannelHandler) => ByteChannel,
    input: Uint8Array,
    traits: Traits,
    peer: Peer,
  ) {
    this.traits = traits;
    this.peer = peer;
    this.#maxFrameBytes = traits.maxFrameBytes;
    this.#input = input;
    this.#channel = open(this);
  }

  start(handler: ConnectionHandler): void {
    if (this.#handler !== undefined) throw new Error("start was called twice on one connection");
    this.#handler = handler;
    if (this.#state === OPEN) this.#channel.start();
    else if (this.#state === CLOSED) queueMicrotask(() => this.notifyClosed());
  }

  // Sending

  reserve(min: number): boolean {
    if (this.#state >= CLOSING) return false;
    let slab = this.#slab;
    if (slab === undefined || slab.words[OWNER] !== this.#channel.id) slab = this.#acquire();
    const end = slab.words[END]!;
    if (slab.memory.length - end < min) {
      // Not flushed here: as long as the kernel took everything, its user would never come back to the event loop.
      this.#blocked = true;
      this.#channel.wantWritable();
      return false;
    }
    slab.words[HELD] = 1;
    this.memory = slab.memory;
    this.rangeStart = end;
    this.rangeEnd = Math.min(end + this.#maxFrameBytes, slab.memory.length);
    return true;
  }

  #acquire(): WriteSlab {
    const slab = this.#channel.acquire();
    this.#stepEnd = slab.words[END]! + STEP_BYTES;
    return (this.#slab = slab);
  }

  commit(used: number): void {
    const end = this.rangeStart + used;
    if (end > this.rangeEnd) throw new RangeError(`commit of ${used} bytes exceeds the reserved range`);
    this.#slab!.words[END] = end;
    this.cancel();
    if (++this.#frames >= this.#framesEnd || end >= this.#stepEnd) {
      this.#stepEnd = end + STEP_BYTES;
      this.#framesEnd = Math.max(this.#framesEnd, 2 * this.#frames);
      this.#channel.flush();
    }
  }

  #noteRead(): void {
    this.#mostFrames = Math.max(this.#frames, this.#mostFrames * KEPT_OF_MOST_FRAMES);
    this.#framesEnd = Math.max(MIN_STEP_FRAMES, this.#mostFrames / 2);
    this.#frames = 0;
  }

  cancel(): void {
    this.rangeEnd = 0;
    this.#slab!.words[HELD] = 0;
    // What `close` and `destroy` had to leave undone while the range was reserved.
    if (this.#state === CLOSING) this.#channel.shutdownWrite();
    else if (this.#state === CLOSED) this.#channel.close();
  }

  flush(): void {
    if (this.rangeEnd === 0 && this.unsentBytes > 0) this.#channel.flush();
  }

  get unsentBytes(): number {
    const words = this.#slab?.words;
    return words !== undefined && words[OWNER] === this.#channel.id ? words[END]! - words[START]! : 0;
  }

  // Ending

  /**
   * Ends the writing direction behind everything that was committed. The reading direction is then read and discarded up to
   * the peer's end of file: a socket that is closed while input is unread sends a reset, which can destroy what the peer
   * has not read yet.
   */
  close(): void {
    if (this.#state >= CLOSING) return;
    if (this.#handler === undefined) this.#channel.start();
    this.#state = CLOSING;
    this.#dropCarry();
    if (this.rangeEnd === 0) {
      this.#channel.flush();
      this.#channel.shutdownWrite();
    }
    this.#armLinger();
  }

  #armLinger(): void {
    const unsent = this.unsentBytes;
    this.#linger = setTimeout(() => this.#onLinger(unsent), unsent > 0 ? STALL_MS : LINGER_MS);
    if (!this.#referenced) this.#linger.unref();
  }

  /** `before` is what was unsent when the wait began. */
  #onLinger(before: number): void {
    const unsent = this.unsentBytes;
    if (unsent < before) return this.#armLinger();
    const error =
      unsent > 0
        ? new RpcError(
            Status.UNAVAILABLE,
            `closed with ${unsent} bytes unsent: ${this.peer.address} took none for ${STALL_MS / 1000} s`,
          )
        : undefined;
    this.#end(error);
    this.notifyClosed();
  }

  destroy(error?: Error): void {
    if (this.#state === CLOSED) return;
    this.#end(error);
    if (this.#handler !== undefined) queueMicrotask(() => this.notifyClosed());
  }

  #end(error: Error | undefined): void {
    this.#state = CLOSED;
    this.#error = error;
    clearTimeout(this.#linger);
    this.#dropCarry();
    // While a range is reserved its user is still writing into the slab: `commit` or `cancel` closes the channel then.
    if (this.rangeEnd === 0) this.#channel.close();
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
    this.#referenced = true;
    this.#channel.ref();
    this.#linger?.ref();
  }

  unref(): void {
    this.#referenced = false;
    this.#channel.unref();
    this.#linger?.unref();
  }

  // Receiving: called by the channel

  onRead(end: number): number {
    if (this.#state !== OPEN) return 0;
    this.#noteRead();
    const memory = this.#input;
    if (this.#carried > 0) {
      const carry = this.#carry!;
      memory.set(carry.length === this.#carried ? carry : carry.subarray(0, this.#carried));
      this.#dropCarry();
    }
    const handler = this.#handler!;
    const maxPayload = this.#maxFrameBytes - FRAME_HEADER_BYTES;
    let start = 0;
    try {
      while (end - start >= FRAME_HEADER_BYTES) {
        const length = readU32(memory, start);
        if (length > maxPayload) {
          this.#state = DEAF;
          handler.onFrame(memory, start, start + FRAME_HEADER_BYTES);
          return 0;
        }
        const next = start + FRAME_HEADER_BYTES + length;
        if (next > end) break;
        handler.onFrame(memory, start, next);
        if (this.#state !== OPEN) return 0;
        start = next;
      }
    } catch (error) {
      this.#fail(error);
      return 0;
    }
    if (start === end) return 0;
    this.#carry = save(memory, start, end, this.#maxFrameBytes);
    this.#carried = end - start;
    return this.#carried;
  }

  #dropCarry(): void {
    if (this.#carry === undefined) return;
    release(this.#carry);
    this.#carry = undefined;
    this.#carried = 0;
  }

  onWritable(): void {
    if (this.#state >= CLOSING || !this.#blocked) return;
    this.#blocked = false;
    try {
      this.#handler?.onWritable();
    } catch (error) {
      this.#fail(error);
    }
  }

  onEnd(): void {
    if (this.#state === CLOSED) return;
    const error =
      this.#carried > 0
        ? new RpcError(
            Status.UNAVAILABLE,
            `the peer at ${this.peer.address} ended the connection inside a frame`,
          )
        : undefined;
    this.#end(error);
    this.notifyClosed();
  }

  onError(error: Error): void {
    if (this.#state === CLOSED) return;
    this.#end(
      new RpcError(Status.UNAVAILABLE, `the connection with ${this.peer.address} broke: ${error.message}`, {
        cause: error,
      }),
    );
    this.notifyClosed();
  }

  /** The handler threw: its connection ends, unless it had ended it itself before. */
  #fail(error: unknown): void {
    if (this.#state === CLOSED) return;
    this.#end(error instanceof Error ? error : new Error(String(error)));
    this.notifyClosed();
  }
}
