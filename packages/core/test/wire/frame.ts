/**
 * Frames as the test vectors describe them: `docs/wire.md` in code a second time, written from that page alone and
 * sharing nothing with `packages/core/src/wire.ts`.
 */
import { Status } from "@sluice/core";

export type Side = "connecting" | "accepting";
export type StatusName = keyof typeof Status;
/** Names and values; those whose name ends in `-bin` in hexadecimal. */
export type MetadataEntries = readonly (readonly [name: string, value: string])[];

export interface StreamName {
  readonly opener: Side;
  readonly slot: number;
  readonly generation: number;
}

export interface Detail {
  readonly typeUrl: string;
  readonly value: string;
}

/** A frame in its described form. Bytes are in hexadecimal; what is not there is not in the frame. */
export type Frame =
  | {
      readonly type: "HELLO";
      readonly version: number;
      readonly lowestVersion: number;
      readonly maxFrameBytes: number;
      readonly maxMessageBytes: number;
      readonly maxMetadataBytes: number;
      readonly maxConcurrentStreams: number;
      readonly streamWindowBytes: number;
      readonly connectionWindowBytes: number;
      readonly reassemblyBytes: number;
      readonly traits: readonly "ANSWERS_NO_PING"[];
      /** Fields of later versions. */
      readonly rest?: string;
    }
  | {
      readonly type: "OPEN";
      readonly stream: StreamName;
      readonly method: number;
      readonly name?: string;
      readonly timeoutMs?: number;
      readonly metadata?: MetadataEntries;
      /** Length of the whole message, where this is its first fragment. */
      readonly total?: number;
      readonly message?: string;
      readonly more?: true;
      readonly last?: true;
    }
  | { readonly type: "HEADERS"; readonly stream: StreamName; readonly metadata: MetadataEntries }
  | {
      readonly type: "DATA";
      readonly stream: StreamName;
      readonly total?: number;
      readonly message: string;
      readonly more?: true;
      readonly last?: true;
    }
  | {
      readonly type: "END";
      readonly stream: StreamName;
      readonly status: StatusName;
      readonly text?: string;
      readonly details?: readonly Detail[];
      readonly metadata?: MetadataEntries;
      readonly message?: string;
    }
  | {
      readonly type: "RESET";
      readonly stream: StreamName;
      readonly status: StatusName;
      readonly text?: string;
      readonly notRun?: true;
    }
  | { readonly type: "CREDIT"; readonly stream: StreamName | null; readonly bytes: number }
  | { readonly type: "PING" | "PONG"; readonly payload: string }
  | { readonly type: "GOAWAY"; readonly status: StatusName; readonly accepted: number; readonly text: string }
  | { readonly type: number; readonly optional: boolean; readonly payload: string };

const TYPES = ["HELLO", "OPEN", "HEADERS", "DATA", "END", "RESET", "CREDIT", "PING", "PONG", "GOAWAY"];
const MAGIC = "534c554943450d0a";
const HELLO_FIELDS = [
  "maxFrameBytes",
  "maxMessageBytes",
  "maxMetadataBytes",
  "maxConcurrentStreams",
  "streamWindowBytes",
  "connectionWindowBytes",
  "reassemblyBytes",
] as const;

/** Writes frames. */
export function encodeFrame(frame: Frame): Buffer {
  let flags = 0;
  let aux = 0;
  let stream = 0;
  const payload: Buffer[] = [];
  const part = (flag: number, bytes: Buffer | undefined): void => {
    if (bytes === undefined) return;
    flags |= flag;
    payload.push(u16(bytes.length), bytes);
  };
  const message = (flag: number, total: number | undefined, bytes: string | undefined): void => {
    if (bytes === undefined) return;
    flags |= flag;
    if (total !== undefined) payload.push(u32(total));
    payload.push(hex(bytes));
  };
  if ("stream" in frame && frame.stream !== null) stream = idOf(frame.stream);
  switch (frame.type) {
    case "HELLO":
      aux = frame.version;
      payload.push(hex(MAGIC), u16(frame.lowestVersion), u16(0));
      for (const field of HELLO_FIELDS) payload.push(u32(frame[field]));
      payload.push(u32(frame.traits.length), hex(frame.rest ?? ""));
      break;
    case "OPEN":
      aux = frame.method;
      part(0x01, textBytes(frame.name));
      if (frame.timeoutMs !== undefined) {
        flags |= 0x02;
        payload.push(u32(frame.timeoutMs));
      }
      part(0x04, blockOf(frame.metadata));
      message(0x08, frame.total, frame.message);
      break;
    case "HEADERS":
      part(0x04, blockOf(frame.metadata));
      break;
    case "DATA":
      message(0, frame.total, frame.message);
      break;
    case "END":
      aux = Status[frame.status];
      part(0x01, textBytes(frame.text));
      part(0x02, frame.details && Buffer.concat(frame.details.map(detailBytes)));
      part(0x04, blockOf(frame.metadata));
      message(0x08, undefined, frame.message);
      break;
    case "RESET":
      aux = Status[frame.status];
      part(0x01, textBytes(frame.text));
      if (frame.notRun) flags |= 0x40;
      break;
    case "CREDIT":
      payload.push(u32(frame.bytes));
      break;
    case "PING":
    case "PONG":
      payload.push(hex(frame.payload));
      break;
    case "GOAWAY":
      aux = Status[frame.status];
      payload.push(u32(frame.accepted), Buffer.from(frame.text));
      break;
    default:
      flags = frame.optional ? 0x80 : 0;
      payload.push(hex(frame.payload));
  }
  if ("more" in frame && frame.more) flags |= 0x10;
  if ("last" in frame && frame.last) flags |= 0x20;
  const bytes = Buffer.concat(payload);
  const type = typeof frame.type === "number" ? frame.type : TYPES.indexOf(frame.type) + 1;
  return Buffer.concat([u32(bytes.length), u32(stream), Buffer.from([type, flags]), u16(aux), bytes]);
}

/** Reads the frames of one side of one connection, in order: which DATA begins a message depends on those before. */
export class FrameReader {
  /** Streams of which a message has arrived in part. */
  readonly #inMessage = new Set<number>();

  read(bytes: Buffer): Frame {
    const id = bytes.readUInt32LE(4);
    const type = TYPES[bytes[8] - 1];
    const flags = bytes[9];
    const aux = bytes.readUInt16LE(10);
    let at = 12;
    if (bytes.readUInt32LE(0) !== bytes.length - at) throw new Error("the length is not that of the frame");
    const next32 = (): number => bytes.readUInt32LE((at += 4) - 4);
    const take = (length: number): Buffer => {
      if (at + length > bytes.length) throw new Error("a part is longer than the frame");
      return bytes.subarray(at, (at += length));
    };
    const part = (flag: number): Buffer | undefined => {
      if ((flags & flag) === 0) return undefined;
      return take(bytes.readUInt16LE((at += 2) - 2));
    };
    const rest = (): string => take(bytes.length - at).toString("hex");
    const fragment = (): { total?: number; message: string; more?: true; last?: true } => {
      const more = (flags & 0x10) !== 0;
      const total = more && !this.#inMessage.has(id) ? next32() : undefined;
      if (more) this.#inMessage.add(id);
      else this.#inMessage.delete(id);
      return {
        ...defined({ total }),
        message: rest(),
        ...(more && { more: true }),
        ...((flags & 0x20) !== 0 && { last: true }),
      };
    };
    const stream = nameOf(id);
    switch (type) {
      case "HELLO": {
        if (take(8).toString("hex") !== MAGIC) throw new Error("the magic is wrong");
        const lowestVersion = bytes.readUInt16LE(at);
        at += 4;
        const fields = Object.fromEntries(HELLO_FIELDS.map((field) => [field, next32()])) as Record<
          (typeof HELLO_FIELDS)[number],
          number
        >;
        const traits = next32() & 1 ? (["ANSWERS_NO_PING"] as const) : [];
        return {
          type,
          version: aux,
          lowestVersion,
          ...fields,
          traits,
          ...(at < bytes.length && { rest: rest() }),
        };
      }
      case "OPEN": {
        const name = part(0x01)?.toString();
        const timeoutMs = (flags & 0x02) === 0 ? undefined : next32();
        const metadata = entriesOf(part(0x04));
        const message =
          (flags & 0x08) !== 0 ? fragment() : { ...((flags & 0x20) !== 0 && { last: true as const }) };
        return { type, stream, method: aux, ...defined({ name, timeoutMs, metadata }), ...message };
      }
      case "HEADERS":
        return { type, stream, metadata: entriesOf(part(0x04))! };
      case "DATA":
        return { type, stream, ...fragment() };
      case "END": {
        const text = part(0x01)?.toString();
        const details = detailsOf(part(0x02));
        const metadata = entriesOf(part(0x04));
        const message = (flags & 0x08) !== 0 ? rest() : undefined;
        return { type, stream, status: statusOf(aux), ...defined({ text, details, metadata, message }) };
      }
      case "RESET": {
        const text = part(0x01)?.toString();
        const notRun = (flags & 0x40) !== 0 ? (true as const) : undefined;
        return { type, stream, status: statusOf(aux), ...defined({ text, notRun }) };
      }
      case "CREDIT":
        return { type, stream: id === 0 ? null : stream, bytes: next32() };
      case "PING":
      case "PONG":
        return { type, payload: rest() };
      case "GOAWAY":
        return {
          type,
          status: statusOf(aux),
          accepted: next32(),
          text: take(bytes.length - at).toString(),
        };
      default:
        return { type: bytes[8], optional: (flags & 0x80) !== 0, payload: rest() };
    }
  }
}

function idOf({ opener, slot, generation }: StreamName): number {
  return (generation * 2 ** 17 + slot * 2 + (opener === "connecting" ? 1 : 0)) >>> 0;
}

function nameOf(id: number): StreamName {
  return {
    opener: id % 2 === 1 ? "connecting" : "accepting",
    slot: (id >>> 1) % 0x10000,
    generation: id >>> 17,
  };
}

function statusOf(code: number): StatusName {
  return (Object.keys(Status) as StatusName[]).find((name) => Status[name] === code)!;
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function hex(text: string): Buffer {
  const bytes = Buffer.from(text, "hex");
  if (bytes.length * 2 !== text.length) throw new Error(`not hexadecimal: ${text}`);
  return bytes;
}

function textBytes(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text);
}

function blockOf(entries: MetadataEntries | undefined): Buffer | undefined {
  return (
    entries &&
    Buffer.concat(
      entries.flatMap(([name, value]) => {
        const bytes = name.endsWith("-bin") ? hex(value) : Buffer.from(value, "latin1");
        return [Buffer.from([name.length]), Buffer.from(name), u16(bytes.length), bytes];
      }),
    )
  );
}

function entriesOf(block: Buffer | undefined): MetadataEntries | undefined {
  if (block === undefined) return undefined;
  const entries: (readonly [string, string])[] = [];
  for (let at = 0; at < block.length;) {
    const nameEnd = at + 1 + block[at];
    const name = block.toString("latin1", at + 1, nameEnd);
    const valueEnd = nameEnd + 2 + block.readUInt16LE(nameEnd);
    entries.push([name, block.toString(name.endsWith("-bin") ? "hex" : "latin1", nameEnd + 2, valueEnd)]);
    at = valueEnd;
  }
  return entries;
}

/** A length-delimited field of a protobuf message. */
function field(tag: number, bytes: Buffer): Buffer {
  const length: number[] = [];
  let rest = bytes.length;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([tag, ...length, rest]), bytes]);
}

function detailBytes({ typeUrl, value }: Detail): Buffer {
  return field(0x1a, Buffer.concat([field(0x0a, Buffer.from(typeUrl)), field(0x12, hex(value))]));
}

/** The length-delimited fields of a message of such fields and varints. */
function* fields(bytes: Buffer): Generator<[tag: number, value: Buffer]> {
  let at = 0;
  const varint = (): number => {
    for (let value = 0, shift = 0; ; shift += 7) {
      value |= (bytes[at] & 0x7f) << shift;
      if (bytes[at++] < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const length = varint();
    if ((tag & 7) === 2) yield [tag, bytes.subarray(at, (at += length))];
  }
}

function detailsOf(bytes: Buffer | undefined): Detail[] | undefined {
  if (bytes === undefined) return undefined;
  const anys = [...fields(bytes)].filter(([tag]) => tag === 0x1a);
  return anys.map(([, any]) => {
    const parts = new Map(fields(any));
    return {
      typeUrl: (parts.get(0x0a) ?? "").toString(),
      value: (parts.get(0x12) ?? Buffer.alloc(0)).toString("hex"),
    };
  });
}

/** The properties that are there. */
function defined<T extends object>(properties: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
