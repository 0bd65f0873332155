import { keepMetadata, type ReceivedBlock } from "./metadata-block.js";
import { MetadataEncoder } from "./metadata-encoder.js";
import { checkEntry, type MetadataValue } from "./metadata-entry.js";

export type { MetadataValue };

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

/**
 * An ordered multimap of names to values, as gRPC's metadata: names are case-insensitive (kept in lower case) and made
 * of `0-9 a-z _ - .`; values are printable ASCII, or `Uint8Array` where the name ends in `-bin`.
 * Bytes are kept by reference on `append` (do not change them afterwards); those that arrive from a peer are copies, which
 * are the receiver's own.
 */
export class Metadata implements Iterable<[string, MetadataValue]> {
  /** The entries, or the block that arrived while nobody asked for all of them, and their block as it travels. */
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
    return (this.#block ??= this.#arrived === undefined ? encodeEntries(this.#list) : this.#arrived.bytes);
  }

  get size(): number {
    return (this.#entries ?? this.#arrived?.entries)?.length ?? 0;
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
    // Names are most often given as they are kept.
    return (this.#find(name) ?? this.#find(name.toLowerCase())) as MetadataValueOf<Name> | undefined;
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

  #find(key: string): MetadataValue | undefined {
    // Of what arrived only the value that is wanted is made.
    if (this.#entries !== undefined) {
      for (const entry of this.#entries) if (entry[0] === key) return entry[1];
    } else if (this.#arrived !== undefined) {
      for (const entry of this.#arrived.entries) if (entry.name === key) return entry.value;
    }
    return undefined;
  }

  get #list(): [string, MetadataValue][] {
    return (this.#entries ??= this.#arrived?.entries.map((entry) => [entry.name, entry.value]) ?? []);
  }

  /** The entries, about to be changed. */
  #changing(): [string, MetadataValue][] {
    const entries = this.#list;
    this.#arrived = this.#block = undefined;
    return entries;
  }
}

function encodeEntries(entries: readonly [string, MetadataValue][]): Uint8Array {
  const encoder = MetadataEncoder.take();
  const block = keepMetadata(encoder.encodeEntries(entries));
  encoder.release();
  return block;
}
