import { RpcError } from "./error.js";
import { Status } from "./status.js";

/** A metadata value: printable ASCII, or bytes for names that end in `-bin`. */
export type MetadataValue = string | Uint8Array;

/** What the API takes wherever metadata is given. */
export type MetadataInit =
  | Metadata
  | Iterable<readonly [string, MetadataValue]>
  | Readonly<Record<string, MetadataValue | readonly MetadataValue[]>>;

const NAME = /^[0-9a-z_.-]+$/;
const VALUE = /^[\x20-\x7e]*$/;
/** Names and values are at most 65,535 bytes on the wire; the metadata limit of a session is usually far lower. */
const MAX_VALUE_BYTES = 0xffff;
const MAX_NAME_BYTES = 0xff;

/**
 * An ordered multimap of names to values, as gRPC's metadata: names are case-insensitive (kept in lower case) and made
 * of `0-9 a-z _ - .`; values are printable ASCII, or `Uint8Array` where the name ends in `-bin`.
 * Bytes are kept by reference on `append`, and are the receiver's own when they arrive from a peer.
 */
export class Metadata implements Iterable<[string, MetadataValue]> {
  readonly #entries: [string, MetadataValue][] = [];

  constructor(init?: MetadataInit) {
    if (init === undefined) return;
    if (typeof (init as Iterable<unknown>)[Symbol.iterator] === "function") {
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

  get size(): number {
    return this.#entries.length;
  }

  /** Add a value, keeping those already there. Throws INVALID_ARGUMENT for a name or value that gRPC forbids. */
  append(name: string, value: MetadataValue): this {
    this.#entries.push(checkEntry(name, value));
    return this;
  }

  /** Replace every value of `name`. Throws as `append`. */
  set(name: string, value: MetadataValue): this {
    const entry = checkEntry(name, value);
    this.delete(name);
    this.#entries.push(entry);
    return this;
  }

  /** The first value of `name`. */
  get(name: string): MetadataValue | undefined {
    const key = name.toLowerCase();
    return this.#entries.find((entry) => entry[0] === key)?.[1];
  }

  /** Every value of `name`, in order. */
  getAll(name: string): MetadataValue[] {
    const key = name.toLowerCase();
    return this.#entries.filter((entry) => entry[0] === key).map((entry) => entry[1]);
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  delete(name: string): void {
    const key = name.toLowerCase();
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      if (this.#entries[i]![0] === key) this.#entries.splice(i, 1);
    }
  }

  /** Add every entry of `other`. */
  merge(other: Metadata): this {
    for (const [name, value] of other) this.append(name, value);
    return this;
  }

  clone(): Metadata {
    return new Metadata(this);
  }

  [Symbol.iterator](): IterableIterator<[string, MetadataValue]> {
    return this.#entries[Symbol.iterator]();
  }

  /** A plain object of arrays, for printing. */
  toJSON(): Record<string, MetadataValue[]> {
    const object: Record<string, MetadataValue[]> = {};
    for (const [name, value] of this.#entries) (object[name] ??= []).push(value);
    return object;
  }
}

function checkEntry(name: string, value: MetadataValue): [string, MetadataValue] {
  const key = name.toLowerCase();
  if (!NAME.test(key) || key.length > MAX_NAME_BYTES) {
    throw invalid(
      `metadata name ${JSON.stringify(name)} is not allowed: use 1 to ${MAX_NAME_BYTES} of 0-9 a-z _ - .`,
    );
  }
  if (key.endsWith("-bin")) {
    if (!(value instanceof Uint8Array)) {
      throw invalid(`metadata "${key}" needs a Uint8Array, because its name ends in -bin`);
    }
  } else if (typeof value !== "string") {
    throw invalid(`metadata "${key}" needs a string; name it "${key}-bin" to send bytes`);
  } else if (!VALUE.test(value)) {
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
