import { readU16 } from "./bytes.js";
import { isBinaryName, NAME_BYTE, type MetadataValue } from "./metadata-entry.js";
import { SHORT_TEXT, shortAscii } from "./protobuf/ascii.js";
import { copy } from "./protobuf/copy.js";
import { platform } from "./protobuf/platform.js";

/** What entries share, because memory of its own costs each several hundred nanoseconds. */
class Slab {
  readonly memory: Uint8Array;
  readonly view: DataView;
  used = 0;

  constructor(bytes: number) {
    this.memory = new Uint8Array(bytes);
    this.view = new DataView(this.memory.buffer);
  }
}

const SLAB_BYTES = 16 << 10;
/** Larger blocks have slabs of their own. */
const SHARED_BYTES = 4 << 10;

let sharedSlab = new Slab(0);

/** One with room for `bytes`. */
function slabFor(bytes: number): Slab {
  if (bytes > SHARED_BYTES) return new Slab(bytes);
  if (sharedSlab.memory.length - sharedSlab.used < bytes) sharedSlab = new Slab(SLAB_BYTES);
  return sharedSlab;
}

/** A good entry that arrived: `slab.memory[start..end)`, never to be changed. */
class ReceivedEntry {
  #name: string | undefined = undefined;
  #text: string | undefined = undefined;

  constructor(
    readonly slab: Slab,
    readonly start: number,
    readonly valueStart: number,
    readonly end: number,
    readonly binary: boolean,
    /** Of the same name. */
    like: ReceivedEntry | undefined,
  ) {
    if (like !== undefined) this.#name = like.#name;
  }

  get name(): string {
    return (this.#name ??= readText(this.slab.memory, this.start + 1, this.valueStart - 2));
  }

  /** Bytes are a copy, which is the caller's own. */
  get value(): MetadataValue {
    const { slab, valueStart, end } = this;
    if (this.binary) return copy(slab.memory, valueStart, end);
    return (this.#text ??= readText(slab.memory, valueStart, end));
  }
}

/** ASCII in memory that nobody else writes to. */
function readText(memory: Uint8Array, start: number, end: number): string {
  const short = end - start <= SHORT_TEXT ? shortAscii(memory, start, end) : undefined;
  return short ?? platform.decodeUtf8(memory, start, end);
}

/** A good block that arrived. All entries are in one slab, so that a block keeps no more than that. */
export class ReceivedBlock {
  constructor(
    readonly slab: Slab,
    readonly entries: readonly ReceivedEntry[],
  ) {}

  /** As it travels, in memory of its own. */
  get bytes(): Uint8Array {
    const block = new Uint8Array(this.entries.reduce((length, { start, end }) => length + end - start, 0));
    let at = 0;
    for (const { slab, start, end } of this.entries) {
      block.set(slab.memory.subarray(start, end), at);
      at += end - start;
    }
    return block;
  }
}

/** The next block most often has the same entries, but for a value or two. */
let lastBlock = new ReceivedBlock(sharedSlab, []);

/** The memory that blocks were read from last. */
let frames = sharedSlab.memory;
let framesView = sharedSlab.view;

/** The block that arrived as `memory[start..end)`, of which it keeps nothing; or why it is malformed. */
export function receiveMetadata(memory: Uint8Array, start: number, end: number): ReceivedBlock | string {
  if (memory !== frames) {
    frames = memory;
    framesView = new DataView(memory.buffer, memory.byteOffset, memory.length);
  }
  const slab = slabFor(end - start);
  const before = lastBlock.slab === slab ? lastBlock.entries : [];
  /** Undefined while they are the same. */
  let entries: ReceivedEntry[] | undefined = undefined;
  let count = 0;
  for (let at = start; at < end; count++) {
    const nameBytes = memory[at]!;
    const valueStart = at + 1 + nameBytes + 2;
    if (valueStart > end) return "a metadata entry is longer than its block";
    const entryEnd = valueStart + readU16(memory, valueStart - 2);
    if (entryEnd > end) return "a metadata value is longer than its block";
    let entry = before[count];
    if (entry === undefined || !isSame(memory, framesView, at, entryEnd, entry, entry.end)) {
      const entryOrReason = keepEntry(slab, at, entryEnd, nameBytes, entry);
      if (typeof entryOrReason === "string") return entryOrReason;
      entry = entryOrReason;
      entries ??= before.slice(0, count);
    }
    entries?.push(entry);
    at = entryEnd;
  }
  if (entries === undefined) {
    if (count === lastBlock.entries.length) return lastBlock;
    entries = before.slice(0, count);
  }
  return (lastBlock = new ReceivedBlock(slab, entries));
}

/** Whether `memory[start..end)` is `entry` up to `entryEnd`. `view` is of all of `memory`. */
function isSame(
  memory: Uint8Array,
  view: DataView,
  start: number,
  end: number,
  entry: ReceivedEntry,
  entryEnd: number,
): boolean {
  if (end - start !== entryEnd - entry.start) return false;
  const { slab } = entry;
  const shift = entry.start - start;
  let at = start;
  // By words, which takes a fifth of the time.
  for (; at <= end - 4; at += 4) {
    if (view.getInt32(at) !== slab.view.getInt32(at + shift)) return false;
  }
  for (; at < end; at++) if (memory[at] !== slab.memory[at + shift]) return false;
  return true;
}

/** A copy of the entry `frames[from..to)`, whose name has `nameBytes`; or why it is malformed. */
function keepEntry(
  slab: Slab,
  from: number,
  to: number,
  nameBytes: number,
  before: ReceivedEntry | undefined,
): ReceivedEntry | string {
  const { memory, view, used: start } = slab;
  const end = start + to - from;
  const nameEnd = start + 1 + nameBytes;
  const valueStart = nameEnd + 2;
  // Before it is checked, since the sender may be able to write to the frame: shared memory that is lent.
  for (let i = start; i < end; i++) memory[i] = frames[from + i - start]!;
  if (memory[start] !== nameBytes || readU16(memory, nameEnd) !== end - valueStart) {
    return "a metadata entry was changed while it was read";
  }
  let like = before;
  let binary: boolean;
  if (like !== undefined && isSame(memory, view, start, nameEnd, like, like.valueStart - 2)) {
    binary = like.binary;
  } else {
    if (nameBytes === 0) return "a metadata name is empty";
    for (let i = start + 1; i < nameEnd; i++) {
      if (NAME_BYTE[memory[i]!] === 0) return "a metadata name has a character that is not allowed";
    }
    binary = isBinaryName(memory, start + 1, nameEnd);
    like = undefined;
  }
  if (!binary) {
    for (let i = valueStart; i < end; i++) {
      const byte = memory[i]!;
      if (byte < 0x20 || byte > 0x7e) return "a metadata value has a character that is not printable ASCII";
    }
  }
  slab.used = end;
  return new ReceivedEntry(slab, start, valueStart, end, binary, like);
}

/** A copy of a block that an encoder gave. */
export function keepMetadata(block: Uint8Array): Uint8Array {
  const slab = slabFor(block.length);
  const start = slab.used;
  slab.memory.set(block, start);
  return slab.memory.subarray(start, (slab.used += block.length));
}
