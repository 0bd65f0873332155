import { RpcError } from "./error.js";
import {
  checkEntry,
  checkName,
  isBinaryName,
  MAX_VALUE_BYTES,
  type MetadataValue,
} from "./metadata-entry.js";
import type { Metadata, MetadataInit } from "./metadata.js";
import { Status } from "./status.js";

const NO_BYTES: Uint8Array = new Uint8Array(0);

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
