import {
  FRAME_HEADER_BYTES,
  type Connection,
  type ConnectionHandler,
  type LargeFrame,
  type LargeFrames,
  type Peer,
  type Traits,
} from "@sluice/core";
import type { Random } from "./random.js";

/** How a simulated link carries frames. */
export interface LinkOptions {
  /** The largest frame, header included. Default 16 KiB. */
  readonly maxFrameBytes?: number;
  /** Bytes committed and not delivered that each direction holds; at least one frame. Default 64 KiB. */
  readonly capacityBytes?: number;
  /** How many large frames, of up to three times `maxFrameBytes`, the other end may keep. Default none. */
  readonly largeFrames?: number;
  /** How often `reserve` finds no room although there is some. Default never. */
  readonly backPressure?: number;
  readonly peerDeath?: Traits["peerDeath"];
  readonly reconnectable?: boolean;
}

/** A frame on its way, or one that has been. */
export interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly aux: number;
  readonly payload: Uint8Array;
}

/** What memory holds while it is not lent: nobody may rely on it. */
const POISON = 0xa5;

/** A large frame that has arrived; what was lent of it has no bytes after `release`. */
class SimulatedLargeFrame implements LargeFrame {
  readonly memory: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly #views: Uint8Array[] = [];
  #onRelease: (() => void) | undefined;

  constructor(frame: Uint8Array, padding: number, onRelease: () => void) {
    this.memory = new Uint8Array(frame.length + 2 * padding).fill(POISON);
    this.memory.set(frame, padding);
    this.start = padding;
    this.end = padding + frame.length;
    this.#onRelease = onRelease;
  }

  get lent(): boolean {
    return this.#views.length > 0;
  }

  lend(start: number, end: number): Uint8Array {
    if (this.#onRelease === undefined) throw new Error("lend after release");
    if (start < this.start || end > this.end) throw new Error("lend beyond the frame");
    const view = this.memory.slice(start, end);
    this.#views.push(view);
    return view;
  }

  release(): void {
    const onRelease = this.#onRelease;
    this.#onRelease = undefined;
    if (onRelease === undefined) return;
    this.memory.fill(POISON);
    for (const { buffer } of this.#views) structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    onRelease();
  }
}

/** One end of a simulated link. Checks that its user keeps the transport contract; breaches throw. */
export class SimulatedConnection implements Connection {
  readonly traits: Traits;
  readonly peer: Peer = { address: "sim:link" };
  memory: Uint8Array;
  rangeStart = 0;
  rangeEnd = 0;

  /** Whoever was given to `start`. */
  handler: ConnectionHandler | undefined = undefined;
  other!: SimulatedConnection;
  /** Sees every frame that is committed here, in order. */
  onCommit: ((frame: Frame) => void) | undefined = undefined;
  referenced = true;
  /** While set, there is no room at all. */
  full = false;

  readonly #random: Random;
  readonly #capacityBytes: number;
  readonly #backPressure: number;
  readonly large: LargeFrames | undefined;
  readonly #smallMemory: Uint8Array;
  readonly #largeMemory: Uint8Array;
  /** Large frames on their way, or kept by the other end. */
  #largeOut = 0;
  readonly #kept = new Set<LargeFrame>();
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #reserved = false;
  #blocked = false;
  #closing = false;
  #closed = false;
  #notified = false;
  #error: Error | undefined = undefined;

  constructor(random: Random, options: LinkOptions) {
    const { maxFrameBytes = 16 << 10, peerDeath = "carrier", reconnectable = false } = options;
    this.#random = random;
    this.traits = { maxFrameBytes, peerDeath, reconnectable };
    this.#capacityBytes = Math.max(options.capacityBytes ?? 64 << 10, maxFrameBytes);
    this.#backPressure = options.backPressure ?? 0;
    const { largeFrames = 0 } = options;
    const maxBytes = largeFrames > 0 ? 3 * maxFrameBytes : maxFrameBytes;
    this.memory = this.#smallMemory = new Uint8Array(maxFrameBytes + 16).fill(POISON);
    this.#largeMemory = new Uint8Array(maxBytes + 32).fill(POISON);
    if (largeFrames > 0) {
      const available = (): boolean => this.#largeOut < largeFrames;
      this.large = {
        maxBytes,
        get available() {
          return available();
        },
      };
    }
  }

  start(handler: ConnectionHandler): void {
    if (this.handler !== undefined) throw new Error("start was called twice");
    this.handler = handler;
  }

  reserve(min: number): boolean {
    if (this.#reserved) throw new Error("reserve while a reservation is open");
    const { large, traits } = this;
    const most = min > traits.maxFrameBytes && large?.available ? large.maxBytes : traits.maxFrameBytes;
    if (!(min >= 0 && min <= most)) throw new Error(`reserve of ${min} bytes; the largest frame has ${most}`);
    if (this.#closing || this.#closed) return false;
    if (most > traits.maxFrameBytes) {
      this.memory = this.#largeMemory;
      this.rangeStart = this.#random.integer(0, 32);
      this.rangeEnd = this.rangeStart + this.#random.integer(min, large!.maxBytes);
      return (this.#reserved = true);
    }
    const room = this.#capacityBytes - this.#queuedBytes;
    if (this.full || room < min || this.#random.chance(this.#backPressure)) {
      this.#blocked = true;
      return false;
    }
    this.memory = this.#smallMemory;
    const size = this.#random.integer(min, Math.min(room, this.traits.maxFrameBytes));
    this.rangeStart = this.#random.integer(0, 16);
    this.rangeEnd = this.rangeStart + size;
    this.#reserved = true;
    return true;
  }

  widen(used: number, min: number): void {
    if (!this.#reserved) throw new Error("widen without a reservation");
    const { large, memory, rangeStart, rangeEnd } = this;
    if (!large!.available || min > large!.maxBytes || used > min) throw new Error(`widen to ${min} bytes`);
    this.memory = this.#largeMemory;
    this.rangeStart = this.#random.integer(0, 32);
    this.rangeEnd = this.rangeStart + this.#random.integer(min, large!.maxBytes);
    this.memory.set(memory.subarray(rangeStart, rangeStart + used), this.rangeStart);
    memory.fill(POISON, rangeStart, rangeEnd);
  }

  commit(used: number): void {
    this.#endReservation();
    if (!(used >= FRAME_HEADER_BYTES && used <= this.rangeEnd - this.rangeStart)) {
      throw new Error(`commit of ${used} bytes; ${this.rangeEnd - this.rangeStart} were reserved`);
    }
    if (this.#closed) return;
    const frame = this.memory.slice(this.rangeStart, this.rangeStart + used);
    this.memory.fill(POISON, this.rangeStart, this.rangeEnd);
    this.#queue.push(frame);
    this.#queuedBytes += used;
    if (used > this.traits.maxFrameBytes) this.#largeOut++;
    this.onCommit?.(frameOf(frame));
  }

  cancel(): void {
    this.#endReservation();
    this.memory.fill(POISON, this.rangeStart, this.rangeEnd);
  }

  #endReservation(): void {
    if (!this.#reserved) throw new Error("commit or cancel without a reservation");
    this.#reserved = false;
  }

  flush(): void {}

  get unsentBytes(): number {
    return this.#queuedBytes;
  }

  close(): void {
    this.#closing = true;
  }

  destroy(error?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#error = error;
    // What was committed is lost from some point on.
    this.#queue.length = this.#random.integer(0, this.#queue.length);
    this.#queuedBytes = this.#queue.reduce((sum, frame) => sum + frame.length, 0);
  }

  ref(): void {
    this.referenced = true;
  }

  unref(): void {
    this.referenced = false;
  }

  get closed(): boolean {
    return this.#notified;
  }

  /** Put a frame on the way to the other end that no session made. */
  inject(frame: Uint8Array): void {
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
  }

  // What can happen here next, and making it happen.

  get deliverable(): number {
    return this.other.handler === undefined ? 0 : this.#queue.length;
  }

  /** Deliver the next `frames` frames committed here to the other end, in one turn. */
  deliver(frames: number): void {
    const { other } = this;
    for (let i = 0; i < frames && this.#queue.length > 0; i++) {
      const frame = this.#queue.shift()!;
      this.#queuedBytes -= frame.length;
      // An end that is closing, or gone, reads no more.
      if (other.#closing || other.#closed) continue;
      if (this.large !== undefined && frame.length > this.traits.maxFrameBytes) {
        this.#deliverLarge(frame);
        continue;
      }
      const start = this.#random.integer(0, 16);
      const memory = new Uint8Array(start + frame.length + this.#random.integer(0, 16)).fill(POISON);
      memory.set(frame, start);
      try {
        other.handler!.onFrame(memory, start, start + frame.length);
      } catch (error) {
        other.thrown ??= error;
        other.destroy(error as Error);
      }
      memory.fill(POISON);
    }
  }

  #deliverLarge(bytes: Uint8Array): void {
    const { other } = this;
    const frame = new SimulatedLargeFrame(bytes, this.#random.integer(0, 16), () => {
      other.#kept.delete(frame);
      this.#largeOut--;
    });
    other.#kept.add(frame);
    try {
      other.handler!.onLargeFrame!(frame);
    } catch (error) {
      other.thrown ??= error;
      other.destroy(error as Error);
    }
  }

  /** What `onFrame` or `onWritable` threw, if one did. */
  thrown: unknown = undefined;

  get writable(): boolean {
    return (
      this.#blocked &&
      !this.full &&
      !this.#closing &&
      !this.#closed &&
      this.#queuedBytes < this.#capacityBytes / 2
    );
  }

  tellWritable(): void {
    this.#blocked = false;
    try {
      this.handler!.onWritable();
    } catch (error) {
      this.thrown ??= error;
      this.destroy(error as Error);
    }
  }

  get closable(): boolean {
    if (this.#notified || this.handler === undefined) return false;
    if (this.#closed) return true;
    if (this.#closing) return this.#queue.length === 0;
    // The other end is gone, and all that it had sent has been delivered.
    return (this.other.#closing || this.other.#closed) && this.other.#queue.length === 0;
  }

  tellClosed(): void {
    this.#closed = this.#notified = true;
    for (const frame of this.#kept) frame.release();
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.handler!.onClose(this.#error);
  }
}

/** Both ends of a new link. */
export function linkPair(
  random: Random,
  options: LinkOptions = {},
): [SimulatedConnection, SimulatedConnection] {
  const one = new SimulatedConnection(random, options);
  const other = new SimulatedConnection(random, options);
  one.other = other;
  other.other = one;
  return [one, other];
}

export function frameOf(bytes: Uint8Array): Frame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    stream: view.getUint32(4, true),
    type: bytes[8],
    flags: bytes[9],
    aux: view.getUint16(10, true),
    payload: bytes.subarray(FRAME_HEADER_BYTES),
  };
}
