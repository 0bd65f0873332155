import { RpcError } from "./error.js";
import { Status } from "./status.js";

/** A metadata value: printable ASCII, or bytes for names that end in `-bin`. */
export type MetadataValue = string | Uint8Array;

/** What the API takes wherever metadata is given. */
export type MetadataInit =
  | Metadata
  | Iterable<readonly [string, MetadataValue]>
  | Readonly<Record<string, MetadataValue | readonly MetadataValue[]>>;

/** Names and values are at most this long on the wire; the metadata limit of a session is usually far lower. */
const MAX_NAME_BYTES = 0xff;
const MAX_VALUE_BYTES = 0xffff;

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
  /** Either or both of these are there: the entries, and the block that says the same. */
  #entries: [string, MetadataValue][] | undefined;
  #block: Uint8Array | undefined = undefined;

  constructor(init?: MetadataInit) {
    if (init instanceof Metadata) {
      this.#entries = init.#entries === undefined ? undefined : [...init.#entries];
      this.#block = init.#block;
      return;
    }
    this.#entries = [];
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

  /** @private Metadata that arrived: a block that is known to be good, which it keeps. */
  static fromBlock(block: Uint8Array): Metadata {
    const metadata = new Metadata();
    metadata.#entries = undefined;
    metadata.#block = block;
    return metadata;
  }

  /** @private The block as it travels (see `docs/wire.md`), not to be changed. */
  get block(): Uint8Array {
    return (this.#block ??= encodeEntries(this.#entries!));
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
  get(name: string): MetadataValue | undefined {
    const key = name.toLowerCase();
    return this.#list.find((entry) => entry[0] === key)?.[1];
  }

  /** Every value of `name`, in order. */
  getAll(name: string): MetadataValue[] {
    const key = name.toLowerCase();
    return this.#list.filter((entry) => entry[0] === key).map((entry) => entry[1]);
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
    const object: Record<string, MetadataValue[]> = {};
    for (const [name, value] of this) (object[name] ??= []).push(value);
    return object;
  }

  get #list(): [string, MetadataValue][] {
    return (this.#entries ??= decodeEntries(this.#block!));
  }

  /** The entries, about to be changed. */
  #changing(): [string, MetadataValue][] {
    const entries = this.#list;
    this.#block = undefined;
    return entries;
  }
}

/** What was encoded last: most programs send the same metadata with every call. Pairs, all of text; and their block. */
const lastPairs: string[] = [];
const NO_BYTES: Uint8Array = new Uint8Array(0);
let lastBlock: Uint8Array = NO_BYTES;

/** The block of `init`. Throws as `Metadata.append`. The result is not to be changed. */
export function encodeMetadata(init: MetadataInit): Uint8Array {
  if (init instanceof Metadata) return init.block;
  if (Symbol.iterator in init) return new Metadata(init).block;
  let matched = 0;
  for (const name in init) {
    if (lastPairs[matched] !== name || lastPairs[matched + 1] !== init[name]) return encodeRecord(init);
    matched += 2;
  }
  return matched === lastPairs.length ? lastBlock : encodeRecord(init);
}

function encodeRecord(init: Readonly<Record<string, MetadataValue | readonly MetadataValue[]>>): Uint8Array {
  lastPairs.length = 0;
  lastBlock = NO_BYTES;
  let at = 0;
  let text = true;
  for (const name in init) {
    const value = init[name]!;
    if (Array.isArray(value)) for (const one of value as MetadataValue[]) at = encodeEntry(at, name, one);
    else at = encodeEntry(at, name, value as MetadataValue);
    text &&= typeof value === "string"; // bytes may change
  }
  const block = keepBlock(scratch, 0, at);
  if (text) {
    for (const name in init) lastPairs.push(name, init[name] as string);
    lastBlock = block;
  }
  return block;
}

/**
 * @private The metadata that arrived as `memory[start..end)`, which it copies; or why it is malformed. The block that
 * came last is kept: it is most often the same again.
 */
export function decodeMetadata(memory: Uint8Array, start: number, end: number): Metadata | string {
  if (!isLastArrived(memory, start, end)) {
    const malformed = checkMetadataBlock(memory, start, end);
    if (malformed !== undefined) return malformed;
    lastArrived = keepBlock(memory, start, end);
  }
  return Metadata.fromBlock(lastArrived);
}

let lastArrived: Uint8Array = new Uint8Array(0);

function isLastArrived(memory: Uint8Array, start: number, end: number): boolean {
  let i = end - start;
  if (i !== lastArrived.length) return false;
  while (i > 0 && lastArrived[i - 1] === memory[start + i - 1]) i--;
  return i === 0;
}

/** Why `memory[start..end)` is no metadata block; undefined if it is one. */
function checkMetadataBlock(memory: Uint8Array, start: number, end: number): string | undefined {
  let at = start;
  while (at < end) {
    const nameEnd = at + 1 + memory[at]!;
    const valueStart = nameEnd + 2;
    if (valueStart > end) return "a metadata entry is longer than its block";
    const valueEnd = valueStart + (memory[nameEnd]! | (memory[nameEnd + 1]! << 8));
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

/** Where blocks are put together. */
let scratch = new Uint8Array(4096);

/** Memory that blocks share, because one of its own costs each several hundred nanoseconds. Nobody else sees it. */
let pool = new Uint8Array(0);
let poolUsed = 0;
const POOL_BYTES = 16 << 10;
const POOLED_BYTES = 1024;

/** A copy of the block `memory[start..end)`, to be kept and not to be changed. */
function keepBlock(memory: Uint8Array, start: number, end: number): Uint8Array {
  const length = end - start;
  if (length > POOLED_BYTES) return Uint8Array.prototype.slice.call(memory, start, end);
  if (pool.length - poolUsed < length) {
    pool = new Uint8Array(POOL_BYTES);
    poolUsed = 0;
  }
  const block = pool.subarray(poolUsed, (poolUsed += length));
  block.set(memory.subarray(start, end));
  return block;
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

/** Write an entry to the scratch at `at`. Returns the position after it. Throws as `Metadata.append`. */
function encodeEntry(at: number, name: string, value: MetadataValue): number {
  const key = encodeName(name);
  const binary = isBinaryName(key, 1, key.length);
  if (binary ? !(value instanceof Uint8Array) : typeof value !== "string") checkEntry(name, value);
  const { length } = value;
  if (length > MAX_VALUE_BYTES) checkEntry(name, value);
  const needed = at + key.length + 2 + length;
  if (needed > scratch.length) {
    const grown = new Uint8Array(2 * needed);
    grown.set(scratch.subarray(0, at));
    scratch = grown;
  }
  const target = scratch;
  for (let i = 0; i < key.length; i++) target[at++] = key[i]!;
  target[at++] = length;
  target[at++] = length >>> 8;
  if (typeof value === "string") {
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i);
      if (unit < 0x20 || unit > 0x7e) checkEntry(name, value);
      target[at++] = unit;
    }
  } else {
    for (let i = 0; i < length; i++) target[at++] = value[i]!;
  }
  return at;
}

function encodeEntries(entries: readonly [string, MetadataValue][]): Uint8Array {
  let at = 0;
  for (const [name, value] of entries) at = encodeEntry(at, name, value);
  return keepBlock(scratch, 0, at);
}

/** The entries of a good block. They share nothing with it. */
function decodeEntries(block: Uint8Array): [string, MetadataValue][] {
  const entries: [string, MetadataValue][] = [];
  const text = (start: number, end: number): string => {
    let ascii = "";
    for (let i = start; i < end; i++) ascii += String.fromCharCode(block[i]!);
    return ascii;
  };
  for (let at = 0; at < block.length;) {
    const nameEnd = at + 1 + block[at]!;
    const start = nameEnd + 2;
    const end = start + (block[nameEnd]! | (block[nameEnd + 1]! << 8));
    const binary = isBinaryName(block, at + 1, nameEnd);
    entries.push([text(at + 1, nameEnd), binary ? block.slice(start, end) : text(start, end)]);
    at = end;
  }
  return entries;
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
