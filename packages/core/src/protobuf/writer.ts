import { BinaryWriter, type WireType } from "@bufbuild/protobuf/wire";
import { CollectionWatch } from "../collection-watch.js";
import { EMPTY, HIGH, LOW, halves, signed64, unsigned64, withoutConstructor } from "./base.js";
import { platform } from "./platform.js";

/** Strings up to this many UTF-16 units are tried as ASCII in JavaScript, below the cost of a call to the platform. */
const SHORT_STRING = 32;
/** Byte arrays up to this size are copied by a loop, below the cost of a call to `set`. */
const SHORT_BYTES = 8;
const SCRATCH_BYTES = 256;
/** Scratch above this size is not kept for the next message. */
const RETAINED_BYTES = 1024 * 1024;

/** A part of the memory that a writer writes to. */
export interface Range {
  readonly memory: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/**
 * A `BinaryWriter` that encodes straight into memory it is given, and allocates nothing when the message fits there.
 *
 * `begin` gives it a range. When the range is exhausted and there is no wider one, what was written moves to private scratch that
 * grows as needed, `overflowed` turns true, and writing goes on. The result is `memory[start..position)`, valid until the next `begin`,
 * `finish` or `release`; if not `overflowed`, it is in the range that was given.
 *
 * It only moves bytes that it wrote and never interprets them, so a range may be memory that another process can write.
 * After an error (a value out of range, an exception in a getter) it must be given a new range by `begin`. A writer
 * that never began writes to scratch, as the class it extends does.
 */
export class MessageWriter extends withoutConstructor(BinaryWriter) {
  /** Holds the result: the memory given, or scratch once `overflowed`. */
  memory: Uint8Array = EMPTY;
  /** Where the result begins in `memory`. */
  start = 0;
  /** Where the result ends in `memory`: the next byte is written here. */
  position = 0;
  /** Whether the result did not fit the range given and is in scratch. */
  overflowed = false;

  private limit = 0;
  private widen: ((used: number, bytes: number) => Range | undefined) | undefined;
  private scratch: Uint8Array = EMPTY;
  /** A view of `viewed`, made when a fixed-size number is written to it. */
  private numbers: DataView | undefined;
  private viewed: Uint8Array = EMPTY;
  /** Where each open fork's length goes, counted from `start`. */
  private readonly forks: number[] = [];

  /**
   * Start a message in `memory[start..end)`, forgetting whatever was being written. When that is exhausted `widen` is called, if
   * given, once. If it returns a range of any memory for the `bytes` that the message has at least, to which it has copied
   * the first `used`, writing goes on there instead of in scratch.
   */
  begin(
    memory: Uint8Array,
    start: number,
    end: number,
    widen?: (used: number, bytes: number) => Range | undefined,
  ): this {
    if (!(start >= 0 && start <= end && end <= memory.length)) {
      throw new RangeError(`range ${start}..${end} is not within memory of ${memory.length} bytes`);
    }
    this.memory = memory;
    this.start = start;
    this.position = start;
    this.limit = end;
    this.overflowed = false;
    this.widen = widen;
    if (this.forks.length !== 0) this.forks.length = 0;
    if (this.scratch.length > RETAINED_BYTES) this.scratch = EMPTY;
    return this;
  }

  /** Forget the memory that was given and scratch too large to keep. The result is no longer valid. */
  release(): void {
    this.begin(EMPTY, 0, 0);
    if (this.viewed !== this.scratch) {
      this.viewed = EMPTY;
      this.numbers = undefined;
    }
  }

  /**
   * The result as memory of its own, which the caller keeps. Scratch that the result fills at least half of is handed
   * over rather than copied. The writer is then as after `release`.
   */
  detach(): Uint8Array<ArrayBuffer> {
    const length = this.position - this.start;
    let result: Uint8Array<ArrayBuffer>;
    if (this.overflowed && length >= this.scratch.length / 2) {
      result = this.scratch.subarray(0, length) as Uint8Array<ArrayBuffer>;
      this.scratch = EMPTY;
    } else {
      result = platform.allocate(length) as Uint8Array<ArrayBuffer>;
      result.set(this.memory.subarray(this.start, this.position));
    }
    this.release();
    return result;
  }

  /** The same as `detach`. */
  override finish(): Uint8Array<ArrayBuffer> {
    return this.detach();
  }

  override fork(): this {
    if (this.position === this.limit) this.overflow(1);
    this.forks.push(this.position - this.start);
    this.position++; // Room for a length below 128; `join` makes more when that was not enough.
    return this;
  }

  override join(): this {
    const fork = this.forks.pop();
    if (fork === undefined) throw new Error("join() without fork()");
    const length = this.position - this.start - fork - 1;
    if (length < 0x80) {
      this.memory[this.start + fork] = length;
      return this;
    }
    const more = varintSize(length) - 1;
    if (this.limit - this.position < more) this.overflow(more);
    const at = this.start + fork;
    this.memory.copyWithin(at + 1 + more, at + 1, this.position);
    this.position += more;
    writeVarint(this.memory, at, length);
    return this;
  }

  override tag(fieldNo: number, type: WireType): this {
    return this.uint32(((fieldNo << 3) | type) >>> 0);
  }

  override raw(chunk: Uint8Array): this {
    const length = byteLength(chunk);
    if (this.limit - this.position < length) this.overflow(length);
    const { memory, position } = this;
    if (length <= SHORT_BYTES) {
      for (let i = 0; i < length; i++) memory[position + i] = chunk[i]!;
    } else {
      memory.set(chunk, position);
    }
    this.position = position + length;
    return this;
  }

  override bytes(value: Uint8Array): this {
    return this.unsigned(byteLength(value)).raw(value);
  }

  override string(value: string): this {
    if (typeof value !== "string") value = String(value);
    const length = value.length;
    if (length <= SHORT_STRING && this.limit - this.position > length) {
      const { memory, position } = this;
      let i = 0;
      for (; i < length; i++) {
        const unit = value.charCodeAt(i);
        if (unit > 0x7f) break;
        memory[position + 1 + i] = unit;
      }
      if (i === length) {
        memory[position] = length;
        this.position = position + 1 + length;
        return this;
      }
    }
    return this.text(value);
  }

  override uint32(value: number): this {
    return this.unsigned(value >>> 0 === value ? value : toUint32(value));
  }

  override int32(value: number): this {
    if ((value | 0) !== value) value = toInt32(value);
    return value >= 0 ? this.unsigned(value) : this.varint64(value, -1);
  }

  override sint32(value: number): this {
    if ((value | 0) !== value) value = toInt32(value);
    return this.unsigned(((value << 1) ^ (value >> 31)) >>> 0);
  }

  override bool(value: boolean): this {
    if (this.position === this.limit) this.overflow(1);
    this.memory[this.position++] = value ? 1 : 0;
    return this;
  }

  override float(value: number): this {
    if (typeof value !== "number") value = toNumber(value, "float");
    if (!Number.isFinite(Math.fround(value)) && Number.isFinite(value)) throw invalid("float", value);
    const view = this.fixed(4);
    view.setFloat32(this.position - 4, value, true);
    return this;
  }

  override double(value: number): this {
    if (typeof value !== "number") value = toNumber(value, "double");
    const view = this.fixed(8);
    view.setFloat64(this.position - 8, value, true);
    return this;
  }

  override fixed32(value: number): this {
    if (value >>> 0 !== value) value = toUint32(value);
    const view = this.fixed(4);
    view.setUint32(this.position - 4, value, true);
    return this;
  }

  override sfixed32(value: number): this {
    if ((value | 0) !== value) value = toInt32(value);
    const view = this.fixed(4);
    view.setInt32(this.position - 4, value, true);
    return this;
  }

  override fixed64(value: string | number | bigint): this {
    splitUnsigned(value);
    return this.fixed64Halves();
  }

  override sfixed64(value: string | number | bigint): this {
    splitSigned(value);
    return this.fixed64Halves();
  }

  override int64(value: string | number | bigint): this {
    splitSigned(value);
    return this.varint64(halves[LOW], halves[HIGH]);
  }

  override uint64(value: string | number | bigint): this {
    splitUnsigned(value);
    return this.varint64(halves[LOW], halves[HIGH]);
  }

  override sint64(value: string | number | bigint): this {
    splitSigned(value);
    const low = halves[LOW];
    const high = halves[HIGH];
    const sign = high >> 31;
    return this.varint64((low << 1) ^ sign, ((high << 1) | (low >>> 31)) ^ sign);
  }

  /** A varint of 32 bits whose value was checked. */
  private unsigned(value: number): this {
    const position = this.position;
    if (value < 0x80) {
      if (position === this.limit) return this.overflow(1).unsigned(value);
      this.memory[position] = value;
      this.position = position + 1;
      return this;
    }
    const room = this.limit - position;
    if (room < 5 && room < varintSize(value)) return this.overflow(5).unsigned(value);
    this.position = writeVarint(this.memory, position, value);
    return this;
  }

  /** A varint of 64 bits, given as its signed or unsigned halves. */
  private varint64(low: number, high: number): this {
    low >>>= 0;
    high >>>= 0;
    if (high === 0) return this.unsigned(low);
    if (this.limit - this.position < 10 && this.limit - this.position < varint64Size(high)) this.overflow(10);
    const memory = this.memory;
    let position = this.position;
    for (let shift = 0; shift < 28; shift += 7) memory[position++] = (low >>> shift) | 0x80;
    // Bits 28 to 34 straddle the halves.
    const middle = (low >>> 28) | ((high & 7) << 4);
    high >>>= 3;
    if (high === 0) {
      memory[position++] = middle;
      this.position = position;
    } else {
      memory[position++] = middle | 0x80;
      this.position = writeVarint(memory, position, high);
    }
    return this;
  }

  private fixed64Halves(): this {
    const low = halves[LOW];
    const high = halves[HIGH];
    const view = this.fixed(8);
    view.setInt32(this.position - 8, low, true);
    view.setInt32(this.position - 4, high, true);
    return this;
  }

  /** Advance by `size` bytes and return the view to write them with, just before `position`. */
  private fixed(size: number): DataView {
    if (this.limit - this.position < size) this.overflow(size);
    this.position += size;
    const memory = this.memory;
    if (this.viewed !== memory || this.numbers === undefined) {
      this.viewed = memory;
      this.numbers = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    }
    return this.numbers;
  }

  /** A string that is long or not ASCII. */
  private text(value: string): this {
    // The length goes first but is known last: assume that of ASCII, and move the bytes when it was wrong.
    const guess = varintSize(value.length);
    if (this.limit - this.position < guess + value.length) this.overflow(guess + value.length);
    let at = this.position + guess;
    let length = platform.encodeUtf8(value, this.memory, at, this.limit);
    if (length < 0) {
      this.overflow(5 + value.length * 3); // No UTF-16 unit takes more than 3 bytes.
      at = this.position + guess;
      length = platform.encodeUtf8(value, this.memory, at, this.limit);
    }
    const size = varintSize(length);
    if (size !== guess) {
      if (this.limit - at < length + size - guess) this.overflow(5 + length, at + length - this.position);
      at = this.position + guess;
      this.memory.copyWithin(this.position + size, at, at + length);
    }
    this.position = writeVarint(this.memory, this.position, length) + length;
    return this;
  }

  /** Make room for `size` more bytes in a wider range or in scratch, keeping what was written and `ahead` bytes after `position`. */
  private overflow(size: number, ahead = 0): this {
    const written = this.position - this.start;
    const wider = this.widen?.(written + ahead, written + size);
    this.widen = undefined;
    if (wider !== undefined) {
      this.memory = wider.memory;
      this.start = wider.start;
      this.position = wider.start + written;
      this.limit = wider.end;
      return this;
    }
    const target = this.scratch;
    if (written + size > target.length) {
      this.scratch = allocateScratch(Math.max(SCRATCH_BYTES, target.length * 2, written + size));
    }
    // Range and scratch may only be the same memory when scratch had to be replaced.
    this.scratch.set(this.memory.subarray(this.start, this.position + ahead));
    this.memory = this.scratch;
    this.start = 0;
    this.position = written;
    this.limit = this.scratch.length;
    this.overflowed = true;
    return this;
  }
}

/**
 * Large scratch that was handed over by `detach` and has come back, the oldest first: large memory is expensive to get anew, and
 * to have collected. What nobody needed between two full collections is let go at the second.
 */
const spares: Uint8Array[] = [];
let spareBytes = 0;
/** The fewest that there were since the last full collection, of which `collections` tells. */
let leastSpares = 0;
const collections = new CollectionWatch(() => {
  dropSpares(0, leastSpares);
  awaitCollection();
});
const LEAST_SPARE_BYTES = 16 * 1024;
const MAX_SPARE_BYTES = 32 * 1024 * 1024;
const MAX_SPARES = 64;

function allocateScratch(bytes: number): Uint8Array {
  for (let i = spares.length - 1; i >= 0; i--) {
    const spare = spares[i]!;
    if (spare.length < bytes || spare.length > 4 * bytes) continue;
    dropSpares(i, 1);
    return spare;
  }
  return platform.allocate(bytes);
}

/** Give back what `detach` returned, if nobody else has seen it and nobody will use it again. */
export function recycle(result: Uint8Array): void {
  const size = result.buffer.byteLength;
  if (size < LEAST_SPARE_BYTES || size > MAX_SPARE_BYTES) return;
  while (spares.length === MAX_SPARES || spareBytes + size > MAX_SPARE_BYTES) dropSpares(0, 1);
  spares.push(new Uint8Array(result.buffer));
  spareBytes += size;
  awaitCollection();
}

function dropSpares(from: number, count: number): void {
  for (const spare of spares.splice(from, count)) spareBytes -= spare.length;
  leastSpares = Math.min(leastSpares, spares.length);
}

function awaitCollection(): void {
  if (spares.length > 0 && collections.listen()) leastSpares = spares.length;
}

function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  return value < 0x10000000 ? 4 : 5;
}

/** The size of a 64-bit varint whose high half is not 0. */
function varint64Size(high: number): number {
  return high < 8 ? 5 : 5 + varintSize(high >>> 3);
}

/** Write the varint of an unsigned `value` at `position`; returns where it ends. */
function writeVarint(memory: Uint8Array, position: number, value: number): number {
  while (value > 0x7f) {
    memory[position++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  memory[position++] = value;
  return position;
}

function invalid(type: string, value: unknown): Error {
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  return new RangeError(`invalid ${type}: ${shown}`);
}

function byteLength(value: Uint8Array): number {
  if (value.BYTES_PER_ELEMENT !== 1) throw new TypeError("invalid bytes: not a Uint8Array");
  return value.length;
}

// Keys of maps come as strings from generated code, which is why numbers may be written so.

function toNumber(value: unknown, type: string): number {
  const number = typeof value === "string" ? Number(value) : NaN;
  if (Number.isNaN(number) && value !== "NaN") throw invalid(type, value);
  return number;
}

function toInt32(value: unknown): number {
  const number = toNumber(value, "int32");
  if ((number | 0) !== number) throw invalid("int32", value);
  return number;
}

function toUint32(value: unknown): number {
  const number = toNumber(value, "uint32");
  if (number >>> 0 !== number) throw invalid("uint32", value);
  return number;
}

/** Put a signed 64-bit integer's halves into `halves`. */
function splitSigned(value: string | number | bigint): void {
  const integer = typeof value === "bigint" ? value : BigInt(value);
  if (BigInt.asIntN(64, integer) !== integer) throw invalid("int64", value);
  signed64[0] = integer;
}

/** Put an unsigned 64-bit integer's halves into `halves`. */
function splitUnsigned(value: string | number | bigint): void {
  const integer = typeof value === "bigint" ? value : BigInt(value);
  if (BigInt.asUintN(64, integer) !== integer) throw invalid("uint64", value);
  unsigned64[0] = integer;
}
