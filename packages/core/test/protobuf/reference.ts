/**
 * A decoder written for obviousness, straight from the encoding's specification, that judges the fast one: what is
 * malformed, and what the rest means. It shares no code with it.
 */
import { absent, neutralScalar, sortEntries, type Neutral } from "./message.js";
import { isPackable, type Field, type FieldType, type Message, type Scalar, type Schema } from "./schema.js";

export class Malformed extends Error {}

const MAX_DEPTH = 100;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface Decoded {
  readonly neutral: Neutral;
  /**
   * Whether the message has what protobufjs reads wrongly: a known field with another wire type than its own (which
   * makes it unknown, but protobufjs reads it all the same); a varint of 32 bits in 6 to 9 bytes (of which it always
   * reads 10); a bool whose only bits are above the 32nd; several members of a oneof (it keeps all); a map whose key of 64
   * bits is 0 (a missing key and a given one are different to it).
   */
  readonly unusual: boolean;
}

/** Decode `bytes`. Throws `Malformed`. */
export function referenceDecode(schema: Schema, message: Message, bytes: Uint8Array): Decoded {
  const state = { unusual: false };
  const input = new Input(bytes);
  const neutral = decodeMessage(schema, message, input, 1, 0, state);
  return { neutral, unusual: state.unusual };
}

class Input {
  at = 0;
  constructor(readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.at === this.bytes.length;
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw new Malformed("truncated");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.take(1)[0];
      if (shift === 63n && byte > 1) throw new Malformed("varint over 64 bits");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  varint32(): number {
    const start = this.at;
    const value = this.varint();
    if (value >= 1n << 32n || this.at - start > 5) throw new Malformed("over 32 bits");
    return Number(value);
  }

  tag(): { number: number; wireType: number } {
    const tag = this.varint32();
    if (tag >>> 3 === 0) throw new Malformed("field number 0");
    if ((tag & 7) > 5) throw new Malformed("wire type");
    return { number: tag >>> 3, wireType: tag & 7 };
  }
}

interface State {
  unusual: boolean;
}

const INNER = 1;

/** Decode to the input's end or, in a group, to its end tag. */
function decodeMessage(
  schema: Schema,
  message: Message,
  input: Input,
  depth: number,
  group: number,
  state: State,
): Neutral {
  if (depth > MAX_DEPTH) throw new Malformed("depth");
  const values = new Map<Field, unknown>();
  for (;;) {
    if (input.done) {
      if (group !== 0) throw new Malformed("group does not end");
      break;
    }
    const { number, wireType } = input.tag();
    if (wireType === 4) {
      if (number !== group) throw new Malformed("end of another group");
      break;
    }
    const field = message.fields.find((candidate) => candidate.number === number);
    if (field === undefined || !decodeField(schema, message, field, wireType, input, depth, values, state)) {
      if (field !== undefined) state.unusual = true;
      skip(input, number, wireType, depth);
    }
  }
  const result: Neutral = [];
  for (const field of message.fields) {
    let value = values.get(field);
    if (value instanceof Map) value = sortEntries([...(value as Map<unknown, unknown>)]);
    value ??= absent(schema, field);
    if (value !== undefined) result.push([field.number, value]);
  }
  return result;
}

/** False, with nothing read, when the wire type is not the field's. */
function decodeField(
  schema: Schema,
  message: Message,
  field: Field,
  wireType: number,
  input: Input,
  depth: number,
  values: Map<Field, unknown>,
  state: State,
): boolean {
  const { type, label } = field;
  if (label === "map") {
    if (wireType !== 2) return false;
    const entry = new Input(input.take(input.varint32()));
    decodeEntry(schema, field, entry, depth + 1, values, state);
    return true;
  }
  if (label === "repeated" && isPackable(type) && wireType === 2) {
    const list = (values.get(field) as unknown[] | undefined) ?? [];
    const packed = new Input(input.take(input.varint32()));
    while (!packed.done) list.push(scalar(packed, type as Scalar, state));
    if (list.length > 0) values.set(field, list);
    return true;
  }
  if (wireType !== wireTypeOf(type)) return false;
  const value = decodeValue(schema, field, input, depth, state);
  if (label === "repeated") {
    values.set(field, [...((values.get(field) as unknown[] | undefined) ?? []), value]);
    return true;
  }
  if (label === "oneof") {
    for (const other of message.fields) {
      if (other.label === "oneof" && other !== field && values.delete(other)) state.unusual = true;
    }
  }
  values.set(field, value);
  return true;
}

function decodeValue(
  schema: Schema,
  { type, number }: Field,
  input: Input,
  depth: number,
  state: State,
): unknown {
  if (typeof type === "string") return scalar(input, type, state);
  if (!type.group) {
    const content = new Input(input.take(input.varint32()));
    return decodeMessage(schema, schema.messages[type.message], content, depth + 1, 0, state);
  }
  const inner: Field = {
    name: "inner",
    number: INNER,
    type: { message: type.message, group: false },
    label: "optional",
    key: "int32",
    packed: false,
  };
  return decodeMessage(schema, { name: "group", fields: [inner] }, input, depth + 1, number, state);
}

/** Generated code drops an entry whose value is a message and missing. */
function decodeEntry(
  schema: Schema,
  field: Field,
  input: Input,
  depth: number,
  values: Map<Field, unknown>,
  state: State,
): void {
  const part = { name: "", packed: false, key: "int32", label: "plain" } as const;
  const entry: Message = {
    name: "entry",
    fields: [
      { ...part, number: 1, type: field.key },
      { ...part, number: 2, type: field.type },
    ],
  };
  const [key, value] = decodeMessage(schema, entry, input, depth, 0, state);
  if (field.key.includes("64") && key[1] === "0") state.unusual = true;
  if (value === undefined) return;
  const map = (values.get(field) as Map<unknown, unknown> | undefined) ?? new Map<unknown, unknown>();
  map.set(key[1], value[1]);
  values.set(field, map);
}

function skip(input: Input, number: number, wireType: number, depth: number): void {
  if (wireType === 0) input.varint();
  else if (wireType === 1) input.take(8);
  else if (wireType === 2) input.take(input.varint32());
  else if (wireType === 5) input.take(4);
  else {
    if (depth + 1 > MAX_DEPTH) throw new Malformed("depth");
    for (;;) {
      const inner = input.tag();
      if (inner.wireType !== 4) skip(input, inner.number, inner.wireType, depth + 1);
      else if (inner.number === number) return;
      else throw new Malformed("end of another group");
    }
  }
}

function wireTypeOf(type: FieldType): number {
  if (typeof type !== "string") return type.group ? 3 : 2;
  if (type === "string" || type === "bytes") return 2;
  if (type === "double" || type === "fixed64" || type === "sfixed64") return 1;
  return type === "float" || type === "fixed32" || type === "sfixed32" ? 5 : 0;
}

function scalar(input: Input, type: Scalar | "enum", state: State): unknown {
  const start = input.at;
  const value = neutralScalar(rawScalar(input, type));
  const size = input.at - start;
  if (type === "bool" ? size > 4 : SHORT_VARINTS.has(type) && size > 5 && size < 10) state.unusual = true;
  return value;
}

const SHORT_VARINTS: ReadonlySet<string> = new Set(["int32", "uint32", "sint32", "enum"]);

function rawScalar(input: Input, type: Scalar | "enum"): unknown {
  const view = (size: number) => new DataView(input.take(size).slice().buffer);
  switch (type) {
    case "int32":
    case "enum":
      return Number(BigInt.asIntN(32, input.varint()));
    case "uint32":
      return Number(BigInt.asUintN(32, input.varint()));
    case "sint32":
      return Number(BigInt.asIntN(32, zigzag(BigInt.asUintN(32, input.varint()))));
    case "int64":
      return BigInt.asIntN(64, input.varint());
    case "uint64":
      return input.varint();
    case "sint64":
      return zigzag(input.varint());
    case "bool":
      return input.varint() !== 0n;
    case "fixed32":
      return view(4).getUint32(0, true);
    case "sfixed32":
      return view(4).getInt32(0, true);
    case "fixed64":
      return view(8).getBigUint64(0, true);
    case "sfixed64":
      return view(8).getBigInt64(0, true);
    case "float":
      return view(4).getFloat32(0, true);
    case "double":
      return view(8).getFloat64(0, true);
    case "bytes":
      return input.take(input.varint32());
    case "string":
      try {
        return utf8.decode(input.take(input.varint32()));
      } catch (error) {
        throw error instanceof Malformed ? error : new Malformed("UTF-8");
      }
  }
}

function zigzag(value: bigint): bigint {
  return (value >> 1n) ^ -(value & 1n);
}
