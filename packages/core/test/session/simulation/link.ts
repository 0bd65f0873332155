import {
  FRAME_HEADER_BYTES,
  type Connection,
  type ConnectionHandler,
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

/** One end of a simulated link. Checks that its user keeps the transport contract; breaches throw. */
export class SimulatedConnection implements Connection {
  readonly traits: Traits;
  readonly peer: Peer = { address: "sim:link" };
  readonly memory: Uint8Array;
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
    this.memory = new Uint8Array(maxFrameBytes + 32).fill(POISON);
  }

  start(handler: ConnectionHandler): void {
    if (this.handler !== undefined) throw new Error("start was called twice");
    this.handler = handler;
  }

  reserve(min: number): boolean {
    if (this.#reserved) throw new Error("reserve while a reservation is open");
    if (!(min >= 0 && min <= this.traits.maxFrameBytes)) {
      throw new Error(`reserve of ${min} bytes; the largest frame has ${this.traits.maxFrameBytes}`);
    }
    if (this.#closing || this.#closed) return false;
    const room = this.#capacityBytes - this.#queuedBytes;
    if (this.full || room < min || this.#random.chance(this.#backPressure)) {
      this.#blocked = true;
      return false;
    }
    const size = this.#random.integer(min, Math.min(room, this.traits.maxFrameBytes));
    this.rangeStart = this.#random.integer(0, 16);
    this.rangeEnd = this.rangeStart + size;
    this.#reserved = true;
    return true;
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
