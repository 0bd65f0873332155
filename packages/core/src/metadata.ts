import { readU16 } from "./bytes.js";
import { RpcError } from "./error.js";
import { Status } from "./status.js";

/** A metadata value: printable ASCII, or bytes for names that end in `-bin`. */
export type MetadataValue = string | Uint8Array;

/** What the values of `Name` are: either, where the name is not known before the program runs. */
export type MetadataValueOf<Name extends string> = string extends Name
  ? MetadataValue
  : Lowercase<Name> extends `${string}-bin`
    ? Uint8Array
    : string;

/** What the API takes wherever metadata is given. */
export type MetadataInit =
  | Metadata
  | Iterable<readonly [string, MetadataValue]>
  | Readonly<Record<string, MetadataValue | readonly MetadataValue[]>>;

/** Names and values are at most this long on the wire; the metadata limit of a session is usually far lower. */
const MAX_NAME_BYTES = 0xff;
const MAX_VALUE_BYTES = 0xffff;

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Which bytes a name may have: `0-9 a-z _ - .` */
const NAME_BYTE = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[0-9a-z_.-]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/**
 * An ordered multimap of names to values, as gRPC's metadata: names are case-insensitive (kept in lower case) and made
 * of `0-9 a-z _ - .`; values are printable ASCII, or `Uint8Array` where the name ends in `-bin`.
 * Bytes are kept by reference on `append` (do not change them afterwards), and are the receiver's own when they arrive
 * from a peer.
 */
export class Metadata implements Iterable<[string, MetadataValue]> {
  /** The entries, and the block that says the same, as it arrived or by itself; none while there is nothing. */
  #entries: [string, MetadataValue][] | undefined = undefined;
  #arrived: ReceivedBlock | undefined = undefined;
  #block: Uint8Array | undefined = undefined;

  constructor(init?: MetadataInit) {
    if (init instanceof Metadata) {
      this.#entries = init.#entries === undefined ? undefined : [...init.#entries];
      this.#arrived = init.#arrived;
      this.#block = init.#block;
      return;
    }
    if (init === undefined) return;
    if (Symbol.iterator in init) {
      for (const [name, value] of init as Iterable<readonly [string, MetadataValue]>)
        this.append(name, value);
    } else {
      for (const [name, value] of Object.entries(init)) {
        if (Array.isArray(value)) for (const one of value as MetadataValue[]) this.append(name, one);
        else this.append(name, value as MetadataValue);
      }
    }
  }

  /** The metadata itself if it is one, else a new one from `init`. */
  static from(init: MetadataInit | undefined): Metadata {
    return init instanceof Metadata ? init : new Metadata(init);
  }

  /** @private Metadata that arrived: a block that is known to be good. */
  static fromBlock(block: ReceivedBlock): Metadata {
    const metadata = new Metadata();
    metadata.#arrived = block;
    return metadata;
  }

  /** @private The block as it travels (see `docs/wire.md`), not to be changed. */
  get block(): Uint8Array {
    return (this.#block ??= this.#arrived === undefined ? encodeEntries(this.#list) : viewOf(this.#arrived));
  }

  get size(): number {
    return this.#list.length;
  }

  /** Add a value, keeping those already there. Throws INVALID_ARGUMENT for a name or value that gRPC forbids. */
  append(name: string, value: MetadataValue): this {
    this.#changing().push(checkEntry(name, value));
    return this;
  }

  /** Replace every value of `name`. Throws as `append`. */
  set(name: string, value: MetadataValue): this {
    const entry = checkEntry(name, value);
    this.delete(name);
    this.#changing().push(entry);
    return this;
  }

  /** The first value of `name`. */
  get<Name extends string>(name: Name): MetadataValueOf<Name> | undefined {
    const key = name.toLowerCase();
    return this.#list.find((entry) => entry[0] === key)?.[1] as MetadataValueOf<Name> | undefined;
  }

  /** Every value of `name`, in order. */
  getAll<Name extends string>(name: Name): MetadataValueOf<Name>[] {
    const key = name.toLowerCase();
    return this.#list.filter((entry) => entry[0] === key).map((entry) => entry[1] as MetadataValueOf<Name>);
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  delete(name: string): void {
    const key = name.toLowerCase();
    const kept = this.#list.filter((entry) => entry[0] !== key);
    this.#changing();
    this.#entries = kept;
  }

  /** Add every entry of `other`. */
  merge(other: Metadata): this {
    this.#changing().push(...other);
    return this;
  }

  clone(): Metadata {
    return new Metadata(this);
  }

  [Symbol.iterator](): IterableIterator<[string, MetadataValue]> {
    return this.#list[Symbol.iterator]();
  }

  /** A plain object of arrays, for printing. */
  toJSON(): Record<string, MetadataValue[]> {
    // Not in an object: names such as `__proto__` mean something there.
    const values = new Map<string, MetadataValue[]>();
    for (const [name, value] of this) {
      const before = values.get(name);
      if (before === undefined) values.set(name, [value]);
      else before.push(value);
    }
    return Object.fromEntries(values);
  }

  get #list(): [string, MetadataValue][] {
    return (this.#entries ??= this.#arrived === undefined ? [] : decodeEntries(this.#arrived));
  }

  /** The entries, about to be changed. */
  #changing(): [string, MetadataValue][] {
    const entries = this.#list;
    this.#arrived = this.#block = undefined;
    return entries;
  }
}

/**
 * @private The block that arrived as `memory[start..end)`, which it copies; or why it is malformed. The block that
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

/** @private A good block, never to be changed: `memory[start..end)`. `view` is of all of `memory`. */
export interface ReceivedBlock {
  readonly memory: Uint8Array;
  readonly view: DataView;
  readonly start: number;
  readonly end: number;
}

/** What memory blocks share, because one of its own costs each several hundred nanoseconds. */
let pool = NO_BYTES;
let poolView = framesView;
let poolUsed = 0;
const POOL_BYTES = 16 << 10;
const POOLED_BYTES = 1024;

let lastArrived: ReceivedBlock = { memory: pool, view: poolView, start: 0, end: 0 };

/** A copy of the block `memory[start..end)`. */
function keepBlock(memory: Uint8Array, start: number, end: number): ReceivedBlock {
  const length = end - start;
  if (length > POOLED_BYTES) {
    const own = Uint8Array.prototype.slice.call(memory, start, end);
    return { memory: own, view: new DataView(own.buffer), start: 0, end: length };
  }
  if (pool.length - poolUsed < length) {
    pool = new Uint8Array(POOL_BYTES);
    poolView = new DataView(pool.buffer);
    poolUsed = 0;
  }
  pool.set(memory.subarray(start, end), poolUsed);
  return { memory: pool, view: poolView, start: poolUsed, end: (poolUsed += length) };
}

function viewOf({ memory, start, end }: ReceivedBlock): Uint8Array {
  return memory.subarray(start, end);
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

/** Whether the name `memory[start..end)` ends in `-bin`. */
function isBinaryName(memory: Uint8Array, start: number, end: number): boolean {
  return (
    end - start >= 4 &&
    memory[end - 1] === 0x6e &&
    memory[end - 2] === 0x69 &&
    memory[end - 3] === 0x62 &&
    memory[end - 4] === 0x2d
  );
}

/** Names as they travel (`u8 length, name`), by names as given: those that a program uses are few. */
const knownNames = new Map<string, Uint8Array>();
const MAX_KNOWN_NAMES = 1024;

function encodeName(name: string): Uint8Array {
  let bytes = knownNames.get(name);
  if (bytes === undefined) {
    const key = checkName(name);
    bytes = new Uint8Array(1 + key.length);
    bytes[0] = key.length;
    for (let i = 0; i < key.length; i++) bytes[1 + i] = key.charCodeAt(i);
    if (knownNames.size >= MAX_KNOWN_NAMES) knownNames.clear();
    knownNames.set(name, bytes);
  }
  return bytes;
}

/** An entry in the memory of an encoder. */
interface WrittenEntry {
  /** As given, and as it travels. */
  readonly name: string;
  readonly key: Uint8Array;
  readonly binary: boolean;
  /** Undefined for bytes, which may have changed since. */
  text: string | undefined;
  readonly start: number;
  readonly valueStart: number;
  end: number;
}

/**
 * Puts blocks together, each over the one before: most programs send the same names with every call, and most values
 * again. What is there already is neither written nor checked a second time.
 */
export class MetadataEncoder {
  /** Not in use. Encoding may run user code (a getter of a value) that encodes too, with one more then. */
  static #free: MetadataEncoder | undefined = undefined;

  #memory = new Uint8Array(1024);
  #view = NO_BYTES;
  /** What is in the memory: of this block the first `#count`, which end at `#at`; then what is left of the last one. */
  readonly #entries: WrittenEntry[] = [];
  #count = 0;
  #at = 0;

  /** One for the caller alone. One that is not released, because it threw, is of no further use. */
  static take(): MetadataEncoder {
    const encoder = MetadataEncoder.#free ?? new MetadataEncoder();
    MetadataEncoder.#free = undefined;
    return encoder;
  }

  /** The block of `init`, valid until `release`. Throws as `Metadata.append`. */
  encode(init: Exclude<MetadataInit, Metadata>): Uint8Array {
    if (typeof init !== "object" || init === null) {
      const given = init === null ? "null" : `a ${typeof init}`;
      throw new RpcError(Status.INVALID_ARGUMENT, `metadata must be an object, or pairs, not ${given}`);
    }
    if (Symbol.iterator in init) return this.encodeEntries(init);
    for (const name in init) {
      const value = init[name]!;
      if (Array.isArray(value)) for (const one of value as MetadataValue[]) this.#add(name, one);
      else this.#add(name, value as MetadataValue);
    }
    return this.#finish();
  }

  /** The same for pairs of names and values. */
  encodeEntries(entries: Iterable<readonly [string, MetadataValue]>): Uint8Array {
    for (const [name, value] of entries) this.#add(name, value);
    return this.#finish();
  }

  release(): void {
    MetadataEncoder.#free = this;
  }

  #add(name: string, value: MetadataValue): void {
    const start = this.#at;
    let entry = this.#entries[this.#count];
    // One that begins here is whole: all that this block has written is before it.
    if (entry === undefined || entry.name !== name || entry.start !== start)
      entry = this.#writeName(name, start);
    // Of a value that is not text nothing is remembered: what is in the memory may be another's.
    if (entry.text === undefined || value !== entry.text) this.#writeValue(entry, value);
    this.#at = entry.end;
    this.#count++;
  }

  #finish(): Uint8Array {
    const length = this.#at;
    if (this.#view.length !== length) this.#view = this.#memory.subarray(0, length);
    if (this.#entries.length > this.#count) this.#entries.length = this.#count;
    this.#count = this.#at = 0;
    return this.#view;
  }

  #writeName(name: string, start: number): WrittenEntry {
    const before = this.#entries[this.#count];
    const key = before?.name === name ? before.key : encodeName(name);
    const valueStart = start + key.length + 2;
    this.#reserve(valueStart);
    for (let i = 0; i < key.length; i++) this.#memory[start + i] = key[i]!;
    const binary = isBinaryName(key, 1, key.length);
    const entry = { name, key, binary, text: undefined, start, valueStart, end: valueStart };
    return (this.#entries[this.#count] = entry);
  }

  #writeValue(entry: WrittenEntry, value: MetadataValue): void {
    const { binary, valueStart } = entry;
    if (binary ? !(value instanceof Uint8Array) : typeof value !== "string") checkEntry(entry.name, value);
    const { length } = value;
    if (length > MAX_VALUE_BYTES) checkEntry(entry.name, value);
    this.#reserve(valueStart + length);
    const memory = this.#memory;
    memory[valueStart - 2] = length;
    memory[valueStart - 1] = length >>> 8;
    if (typeof value === "string") {
      for (let i = 0; i < length; i++) {
        const unit = value.charCodeAt(i);
        if (unit < 0x20 || unit > 0x7e) checkEntry(entry.name, value);
        memory[valueStart + i] = unit;
      }
      entry.text = value;
    } else memory.set(value, valueStart);
    entry.end = valueStart + length;
  }

  #reserve(end: number): void {
    if (end <= this.#memory.length) return;
    const grown = new Uint8Array(2 * end);
    grown.set(this.#memory);
    this.#memory = grown;
    this.#view = NO_BYTES;
  }
}

function encodeEntries(entries: readonly [string, MetadataValue][]): Uint8Array {
  const encoder = MetadataEncoder.take();
  const block = encoder.encodeEntries(entries);
  const kept = keepMetadata(block);
  encoder.release();
  return kept;
}

/** @private A copy of a block that an encoder gave. */
export function keepMetadata(block: Uint8Array): Uint8Array {
  return viewOf(keepBlock(block, 0, block.length));
}

/** The entries of a block. They share nothing with it. */
function decodeEntries({ memory, start: from, end: to }: ReceivedBlock): [string, MetadataValue][] {
  const entries: [string, MetadataValue][] = [];
  for (let at = from; at < to;) {
    const nameEnd = at + 1 + memory[at]!;
    const end = endOfEntry(memory, at);
    const binary = isBinaryName(memory, at + 1, nameEnd);
    entries.push([
      readText(memory, at + 1, nameEnd),
      binary ? memory.slice(nameEnd + 2, end) : readText(memory, nameEnd + 2, end),
    ]);
    at = end;
  }
  return entries;
}

function readText(memory: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(memory[i]!);
  return text;
}

function checkName(name: string): string {
  const key = name.toLowerCase();
  if (!/^[0-9a-z_.-]+$/.test(key) || key.length > MAX_NAME_BYTES) {
    throw invalid(
      `metadata name ${JSON.stringify(name)} is not allowed: use 1 to ${MAX_NAME_BYTES} of 0-9 a-z _ - .`,
    );
  }
  return key;
}

function checkEntry(name: string, value: MetadataValue): [string, MetadataValue] {
  const key = checkName(name);
  if (key.endsWith("-bin")) {
    if (!(value instanceof Uint8Array)) {
      throw invalid(`metadata "${key}" needs a Uint8Array, because its name ends in -bin`);
    }
  } else if (typeof value !== "string") {
    throw invalid(`metadata "${key}" needs a string; name it "${key}-bin" to send bytes`);
  } else if (!/^[\x20-\x7e]*$/.test(value)) {
    throw invalid(
      `metadata "${key}" has a character that is not printable ASCII; name it "${key}-bin" to send bytes`,
    );
  }
  if (value.length > MAX_VALUE_BYTES) {
    throw invalid(`metadata "${key}" is ${value.length} bytes; a value is at most ${MAX_VALUE_BYTES}`);
  }
  return [key, value];
}

function invalid(message: string): RpcError {
  return new RpcError(Status.INVALID_ARGUMENT, message);
}
