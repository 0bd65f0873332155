/**
 * Messages of random schemas in three forms: as generated code has them, as protobufjs has them, and *neutral*: text
 * that is equal exactly when the messages are, whatever decoded them.
 */
import protobufjs from "protobufjs";
import type { Random } from "./random.js";
import type { Field, FieldType, Message, Scalar, Schema } from "./schema.js";

/** A message as generated code has it. */
export type Value = Record<string, unknown>;
/** Pairs of field number and value, in the schema's order. */
export type Neutral = (readonly [number, unknown])[];

const INT32 = [0, 1, -1, 127, 128, 300, 16383, 16384, 2 ** 31 - 1, -(2 ** 31)];
const UINT32 = [0, 1, 127, 128, 300, 16384, 2 ** 21, 2 ** 28 - 1, 2 ** 28, 2 ** 32 - 1];
const INT64 = [0n, 1n, -1n, 127n, 128n, 2n ** 31n, -(2n ** 32n), 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)];
const UINT64 = [0n, 1n, 127n, 128n, 2n ** 28n, 2n ** 32n, 2n ** 35n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
const DOUBLE = [0, -0, 1, -1.5, NaN, Infinity, -Infinity, Number.MAX_VALUE, Number.MIN_VALUE];
const FLOAT = [0, -0, 1, -1.5, NaN, Infinity, -Infinity, 3.4028234663852886e38, 2 ** -149];
const LENGTHS = [0, 1, 2, 7, 8, 9, 24, 25, 32, 33, 127, 128];
const CHARACTERS = ["a", "Z", "0", " ", "\0", "\x7f", "\x80", "é", "ß", "€", "\ufeff", "\ufffd", "漢", "😀"];

export function randomScalar(random: Random, type: Scalar | "enum"): unknown {
  switch (type) {
    case "enum":
      return random.pick([0, 1, 2147483647, -1, 5]);
    case "int32":
    case "sint32":
    case "sfixed32":
      return random.once(2) ? random.pick(INT32) : random.uint32() | 0;
    case "uint32":
    case "fixed32":
      return random.once(2) ? random.pick(UINT32) : random.uint32();
    case "int64":
    case "sint64":
    case "sfixed64":
      return random.once(2) ? random.pick(INT64) : BigInt.asIntN(64, random64(random));
    case "uint64":
    case "fixed64":
      return random.once(2) ? random.pick(UINT64) : random64(random);
    case "bool":
      return random.once(2);
    case "float":
      return random.once(2) ? random.pick(FLOAT) : Math.fround(random.uint32() / 1000);
    case "double":
      return random.once(2) ? random.pick(DOUBLE) : random.uint32() / 1000;
    case "string": {
      const ascii = random.once(2);
      const character = () => (ascii ? String.fromCharCode(random.below(128)) : random.pick(CHARACTERS));
      return Array.from({ length: random.pick(LENGTHS) }, character).join("");
    }
    case "bytes":
      return Uint8Array.from({ length: random.pick(LENGTHS) }, () => random.below(256));
  }
}

function random64(random: Random): bigint {
  return ((BigInt(random.uint32()) << 32n) | BigInt(random.uint32())) >> BigInt(random.below(64));
}

/** A random message as generated code has it, with messages nested to at most `depth`. */
export function randomMessage(random: Random, schema: Schema, message: Message, depth = 3): Value {
  const result: Value = {};
  const value = (type: FieldType) => {
    // Generated code takes -0 for 0, and so for unset, in fields that are not written when they are 0.
    if (typeof type === "string") {
      const scalar = randomScalar(random, type);
      return Object.is(scalar, -0) ? 0 : scalar;
    }
    const inner = randomMessage(random, schema, schema.messages[type.message], depth - 1);
    return type.group ? { inner } : inner;
  };
  const alternatives = message.fields.filter((field) => field.label === "oneof");
  for (const { name, type, label, key, default: stated } of message.fields) {
    const isDeep = typeof type !== "string" && depth === 0;
    const present = !isDeep && !random.once(3);
    switch (label) {
      case "plain":
        result[name] = present ? value(type) : unset(type);
        break;
      case "required":
        result[name] = 1 + random.below(1000); // Generated code does not write a 0, and protobufjs misses it then.
        break;
      case "optional":
        result[name] = present
          ? value(type)
          : schema.syntax === "proto3"
            ? undefined
            : (stated?.value ?? proto2Unset(type));
        break;
      case "repeated":
        result[name] = Array.from({ length: present ? random.below(4) : 0 }, () => value(type));
        break;
      case "map": {
        const pairs = Array.from({ length: present ? random.below(4) : 0 }, () => {
          return [randomScalar(random, key), value(type)] as const;
        });
        result[name] = new Map(pairs);
        break;
      }
      case "oneof":
        break;
    }
  }
  if (alternatives.length > 0) {
    const { name, type } = random.pick(alternatives);
    const present = !(typeof type !== "string" && depth === 0) && !random.once(4);
    result["choice"] = present ? { $case: name, value: value(type) } : undefined;
  }
  return result;
}

/** What a field is when nothing set it. */
function unset(type: FieldType): unknown {
  if (typeof type !== "string") return undefined;
  switch (type) {
    case "string":
      return "";
    case "bytes":
      return new Uint8Array(0);
    case "bool":
      return false;
    case "int64":
    case "uint64":
    case "sint64":
    case "fixed64":
    case "sfixed64":
      return 0n;
    default:
      return 0;
  }
}

/** Generated code does not tell an unset optional field of proto2 from one set to its default. */
function proto2Unset(type: FieldType): unknown {
  return unset(type);
}

/** A single value, as neutral text. */
export function neutralScalar(value: unknown): unknown {
  if (typeof value === "bigint") return `${value}`;
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : `${value}`;
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  return value;
}

/** What an absent field of a decoded message counts as: nothing, or a value. */
export function absent(schema: Schema, { label, type, default: stated }: Field): unknown {
  if (typeof type !== "string") return undefined;
  if (label === "plain" || label === "required") return neutralScalar(unset(type));
  if (label === "optional" && schema.syntax === "proto2") return neutralScalar(stated?.value ?? unset(type));
  return undefined;
}

/** A map's entries in an order of their own. */
export function sortEntries(entries: [unknown, unknown][]): [unknown, unknown][] {
  return entries.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
}

type ReadField = (field: Field) => unknown;

/** The neutral form, given how to read a field: an array when repeated, a Map for a map, undefined when absent. */
function neutral(
  schema: Schema,
  message: Message,
  read: ReadField,
  convert: (type: FieldType, value: unknown) => unknown,
): Neutral {
  const result: Neutral = [];
  for (const field of message.fields) {
    const value = read(field);
    let form: unknown;
    if (field.label === "repeated") {
      const values = value as unknown[];
      form = values.length === 0 ? undefined : values.map((item) => convert(field.type, item));
    } else if (field.label === "map") {
      const entries = [...(value as Map<unknown, unknown>)].map(
        ([key, item]) => [neutralScalar(key), convert(field.type, item)] as [unknown, unknown],
      );
      form = entries.length === 0 ? undefined : sortEntries(entries);
    } else {
      form = value === undefined || value === null ? absent(schema, field) : convert(field.type, value);
    }
    if (form !== undefined) result.push([field.number, form]);
  }
  return result;
}

/** The neutral form of what generated code decoded, or would encode. */
export function neutralOfGenerated(schema: Schema, message: Message, value: Value): Neutral {
  const choice = value["choice"] as { $case: string; value: unknown } | undefined;
  return neutral(
    schema,
    message,
    ({ label, name }) =>
      label === "oneof" ? (choice?.$case === name ? choice.value : undefined) : value[name],
    (type, item) => {
      if (typeof type === "string") return neutralScalar(item);
      const content = type.group ? (item as { inner?: Value }).inner : (item as Value);
      const inner = content && neutralOfGenerated(schema, schema.messages[type.message], content);
      return type.group ? (inner === undefined ? [] : [[1, inner]]) : inner;
    },
  );
}

/** protobufjs's 64-bit integers, as far as its typings have them. */
interface Printable {
  toString(): string;
}

/** The neutral form of what protobufjs decoded. */
export function neutralOfProtobufjs(schema: Schema, message: Message, value: Value): Neutral {
  const scalar = (type: FieldType, item: unknown) => {
    if (item instanceof protobufjs.util.Long) return (item as Printable).toString();
    return neutralScalar(type === "bytes" ? Uint8Array.from(item as ArrayLike<number>) : item);
  };
  const key = (type: Scalar, text: string): unknown => {
    if (type === "bool") return text === "true";
    if (!type.includes("64")) return type === "string" ? text : Number(text);
    if (text === "0") return 0n; // A missing key; others are hashes of eight characters.
    const long: Printable = protobufjs.util.longFromHash(text, type === "uint64" || type === "fixed64");
    return BigInt(long.toString());
  };
  return neutral(
    schema,
    message,
    (field) => {
      const item = Object.hasOwn(value, field.name) ? value[field.name] : undefined;
      if (field.label === "repeated") return item ?? [];
      if (field.label !== "map") return item;
      // An entry whose value is a message and missing: nothing here, and dropped by generated code.
      const entries = Object.entries((item as Value | undefined) ?? {});
      const whole = entries.filter(([, v]) => v !== null && v !== undefined);
      return new Map(whole.map(([k, v]) => [key(field.key, k), v]));
    },
    (type, item) => {
      if (typeof type === "string") return scalar(type, item);
      const holder = item as Value;
      const content = type.group
        ? Object.hasOwn(holder, "inner")
          ? (holder["inner"] as Value)
          : undefined
        : holder;
      const inner = content && neutralOfProtobufjs(schema, schema.messages[type.message], content);
      return type.group ? (inner === undefined ? [] : [[1, inner]]) : inner;
    },
  );
}
