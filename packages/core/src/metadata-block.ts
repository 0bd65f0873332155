import { readU16 } from "./bytes.js";
import { isBinaryName, NAME_BYTE, type MetadataValue } from "./metadata-entry.js";
import { SHORT_TEXT, shortAscii } from "./protobuf/ascii.js";
import { copy } from "./protobuf/copy.js";
import { platform } from "./protobuf/platform.js";

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** A good block, never to be changed: `memory[start..end)`. `view` is of all of `memory`. */
export class ReceivedBlock {
  #entries: readonly ReceivedEntry[] | undefined = undefined;

  constructor(
    readonly memory: Uint8Array,
    readonly view: DataView,
    readonly start: number,
    readonly end: number,
  ) {}

  /** As it travels. */
  get bytes(): Uint8Array {
    return this.memory.subarray(this.start, this.end);
  }

  get entries(): readonly ReceivedEntry[] {
    return (this.#entries ??= readEntries(this));
  }
}

/** An entry of `block`, which begins at `start` of its memory. `text` is undefined where the value is bytes. */
export class ReceivedEntry {
  constructor(
    readonly block: ReceivedBlock,
    readonly start: number,
    readonly valueStart: number,
    readonly end: number,
    readonly name: string,
    readonly text: string | undefined,
  ) {}

  /** Bytes are a copy, which is the caller's own. */
  get value(): MetadataValue {
    return this.text ?? copy(this.block.memory, this.valueStart, this.end);
  }
}

/** The entries that were read last: most often those of the next block are the same but for a value or two. */
let lastRead: readonly ReceivedEntry[] = [];

function readEntries(block: ReceivedBlock): readonly ReceivedEntry[] {
  const { memory, end } = block;
  const entries: ReceivedEntry[] = [];
  for (let at = block.start; at < end;) {
    const valueStart = at + 1 + memory[at]! + 2;
    const entryEnd = endOfEntry(memory, at);
    const before = lastRead[entries.length];
    let name: string | undefined = undefined;
    let text: string | undefined = undefined;
    if (before !== undefined && valueStart - at === before.valueStart - before.start) {
      if (isSame(block, at, valueStart - 2, before.block, before.start)) name = before.name;
    }
    if (name === undefined) name = readText(memory, at + 1, valueStart - 2);
    if (!isBinaryName(memory, at + 1, valueStart - 2)) {
      if (before?.text !== undefined && entryEnd - valueStart === before.text.length) {
        if (isSame(block, valueStart, entryEnd, before.block, before.valueStart)) text = before.text;
      }
      if (text === undefined) text = readText(memory, valueStart, entryEnd);
    }
    entries.push(new ReceivedEntry(block, at, valueStart, entryEnd, name, text));
    at = entryEnd;
  }
  return (lastRead = entries);
}

/** Whether `block.memory[start..end)` is what `other.memory` has at `otherStart`. */
function isSame(
  block: ReceivedBlock,
  start: number,
  end: number,
  other: ReceivedBlock,
  otherStart: number,
): boolean {
  const shift = otherStart - start;
  let at = start;
  for (; end - at >= 4; at += 4) {
    if (block.view.getInt32(at) !== other.view.getInt32(at + shift)) return false;
  }
  for (; at < end; at++) if (block.memory[at] !== other.memory[at + shift]) return false;
  return true;
}

function readText(memory: Uint8Array, start: number, end: number): string {
  const short = end - start <= SHORT_TEXT ? shortAscii(memory, start, end) : undefined;
  return short ?? platform.decodeUtf8(memory, start, end);
}

/**
 * The block that arrived as `memory[start..end)`, which it copies; or why it is malformed. The block that
 * came last is remembered: the next is most often the same, or differs in a value or two.
 */
export function receiveMetadata(memory: Uint8Array, start: number, end: number): ReceivedBlock | string {
  if (memory !== frames) {
    frames = memory;
    framesView = new DataView(memory.buffer, memory.byteOffset, memory.length);
  }
  const sameLength = end - start === lastArrived.end - lastArrived.start;
  const same = sameLength ? differenceEnd(start, end) : end;
  if (!sameLength || same > start) {
    const malformed = checkMetadataBlock(memory, start, end, same);
    if (malformed !== undefined) return malformed;
    lastArrived = keepBlock(memory, start, end);
  }
  return lastArrived;
}

/** The memory that frames were read from last. */
let frames = NO_BYTES;
let framesView = new DataView(NO_BYTES.buffer);

/** What memory blocks share, because one of its own costs each several hundred nanoseconds. */
let pool = NO_BYTES;
let poolView = framesView;
let poolUsed = 0;
const POOL_BYTES = 16 << 10;
const POOLED_BYTES = 1024;

let lastArrived = new ReceivedBlock(pool, poolView, 0, 0);

/** A copy of the block `memory[start..end)`. */
function keepBlock(memory: Uint8Array, start: number, end: number): ReceivedBlock {
  const length = end - start;
  if (length > POOLED_BYTES) {
    const own = Uint8Array.prototype.slice.call(memory, start, end);
    return new ReceivedBlock(own, new DataView(own.buffer), 0, length);
  }
  if (pool.length - poolUsed < length) {
    pool = new Uint8Array(POOL_BYTES);
    poolView = new DataView(pool.buffer);
    poolUsed = 0;
  }
  pool.set(memory.subarray(start, end), poolUsed);
  return new ReceivedBlock(pool, poolView, poolUsed, (poolUsed += length));
}

/** A copy of a block that an encoder gave. */
export function keepMetadata(block: Uint8Array): Uint8Array {
  return keepBlock(block, 0, block.length).bytes;
}

/** From where on `frames[start..end)` is the same as the block that arrived last, which is as long. */
function differenceEnd(start: number, end: number): number {
  const { memory, view } = lastArrived;
  const shift = lastArrived.end - end;
  let at = end;
  // By words, which takes a fifth of the time.
  while (at - start >= 4 && framesView.getInt32(at - 4) === view.getInt32(at - 4 + shift)) at -= 4;
  while (at > start && frames[at - 1] === memory[at - 1 + shift]) at--;
  return at;
}

/** Whether an entry of the block that arrived last begins at `position` in it, or it ends there. */
function isEntryOfLast(position: number): boolean {
  const { memory, start } = lastArrived;
  let at = start;
  while (at < start + position) at = endOfEntry(memory, at);
  return at === start + position;
}

/** Where the entry of a good block that begins at `at` ends. */
function endOfEntry(memory: Uint8Array, at: number): number {
  const nameEnd = at + 1 + memory[at]!;
  return nameEnd + 2 + readU16(memory, nameEnd);
}

/**
 * Why `memory[start..end)` is no metadata block; undefined if it is one. From `same` on its bytes are those of the block
 * that arrived last.
 */
function checkMetadataBlock(
  memory: Uint8Array,
  start: number,
  end: number,
  same: number,
): string | undefined {
  let at = start;
  while (at < end) {
    if (at >= same) {
      // What follows was good, if it is cut into the same entries. One look, since it takes as long as the block.
      if (isEntryOfLast(at - start)) return undefined;
      same = Infinity;
    }
    const nameEnd = at + 1 + memory[at]!;
    const valueStart = nameEnd + 2;
    if (valueStart > end) return "a metadata entry is longer than its block";
    const valueEnd = valueStart + readU16(memory, nameEnd);
    if (valueEnd > end) return "a metadata value is longer than its block";
    if (nameEnd === at + 1) return "a metadata name is empty";
    for (let i = at + 1; i < nameEnd; i++) {
      if (NAME_BYTE[memory[i]!] === 0) return "a metadata name has a character that is not allowed";
    }
    if (!isBinaryName(memory, at + 1, nameEnd)) {
      for (let i = valueStart; i < valueEnd; i++) {
        const byte = memory[i]!;
        if (byte < 0x20 || byte > 0x7e) return "a metadata value has a character that is not printable ASCII";
      }
    }
    at = valueEnd;
  }
  return undefined;
}
