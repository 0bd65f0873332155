/**
 * Wire version 1: how frames are laid out. `docs/wire.md` is the specification; the session (`session.ts`) keeps its
 * rules. All integers are little-endian.
 */
import { readU16, readU32, writeU16, writeU32 } from "./bytes.js";
import { RpcError, type ErrorDetail } from "./error.js";
import { receiveMetadata, type ReceivedBlock } from "./metadata-block.js";
import { DecodeError, MessageReader, MessageWriter, WireType } from "./protobuf/index.js";
import { Status } from "./status.js";
import { FRAME_HEADER_BYTES } from "./transport.js";

export const WIRE_VERSION = 1;

/** The first bytes of every HELLO's payload. The line ending shows a carrier that translates text. */
export const MAGIC = Uint8Array.from([0x53, 0x4c, 0x55, 0x49, 0x43, 0x45, 0x0d, 0x0a]); // "SLUICE\r\n"

export const FrameType = {
  HELLO: 1,
  OPEN: 2,
  HEADERS: 3,
  DATA: 4,
  END: 5,
  RESET: 6,
  CREDIT: 7,
  PING: 8,
  PONG: 9,
  GOAWAY: 10,
} as const;

/** Bits of a frame's `flags`. Their order here is the order of the parts that they announce in a payload. */
export const Flag = {
  /** OPEN: `u16 length, name`; the method's full name, which from here on has the number in `aux`. */
  NAMED: 0x01,
  /** OPEN: `u32` milliseconds until the caller gives up. */
  TIMEOUT: 0x02,
  /** END, RESET: `u16 length, UTF-8`; the status message. */
  TEXT: 0x01,
  /** END: `u16 length, bytes`; the details of the error: a `google.rpc.Status` of which only `details` is set. */
  DETAILS: 0x02,
  /** OPEN, HEADERS, END: `u16 length, metadata block`. */
  METADATA: 0x04,
  /** OPEN, END: the rest of the payload is a message (OPEN: or its first fragment). In DATA that is always so. */
  MESSAGE: 0x08,
  /** OPEN, DATA: the message goes on in the stream's next DATA. Its first fragment begins with `u32 total length`. */
  MORE: 0x10,
  /** OPEN, DATA: the opener sends no more on this stream; the same as an END after it. */
  LAST: 0x20,
  /** RESET: the call certainly did not run. */
  NOT_RUN: 0x40,
  /** Any type: a receiver that does not know the type may skip the frame. */
  OPTIONAL: 0x80,
} as const;

/** The longest full method name, in bytes. */
export const MAX_METHOD_NAME_BYTES = 512;
/** The most method numbers that each side of a connection may assign. */
export const MAX_METHODS = 4096;
/** The longest status message sent, in bytes of UTF-8, where windows are not small; longer ones are cut. */
export const MAX_TEXT_BYTES = 4096;
/** The most slots that each side of a connection may use: 16 bits of a stream id. */
export const MAX_SLOTS = 0x10000;
/** The most credit that a stream or a connection may have. */
export const MAX_WINDOW_BYTES = 0x7fff_ffff;
/** The last generation of a slot before it begins again with 1: 15 bits of a stream id. */
export const MAX_GENERATION = 0x7fff;

/** Stream id: bit 0 is 1 for streams that the connecting side opened; then 16 bits of slot, 15 bits of generation. */
export function streamId(parity: 0 | 1, slot: number, generation: number): number {
  return ((generation << 17) | (slot << 1) | parity) >>> 0;
}

export function slotOf(id: number): number {
  return (id >>> 1) & 0xffff;
}

export function generationOf(id: number): number {
  return id >>> 17;
}

export function nextGeneration(generation: number): number {
  return generation === MAX_GENERATION ? 1 : generation + 1;
}

/** The number that a peer counted in 32 bits: the last one up to `most`, which it cannot be above, with those low bits. */
export function fullCount(most: number, low: number): number {
  return most - ((most - low) >>> 0);
}

/** Write a frame's header at `at`. Returns where the payload begins. */
export function writeHeader(
  memory: Uint8Array,
  at: number,
  payloadBytes: number,
  stream: number,
  type: number,
  flags: number,
  aux: number,
): number {
  writeU32(memory, at, payloadBytes);
  writeU32(memory, at + 4, stream);
  memory[at + 8] = type;
  memory[at + 9] = flags;
  writeU16(memory, at + 10, aux);
  return at + FRAME_HEADER_BYTES;
}

/** A violation of the wire protocol by the peer; its message goes into the GOAWAY. */
export class ProtocolError extends RpcError {
  constructor(message: string, code: Status = Status.INTERNAL) {
    super(code, message);
  }
}

/** What each side tells of itself in its first frame. */
export interface Hello {
  /** The lowest and highest wire version spoken. */
  readonly lowestVersion: number;
  readonly version: number;
  /** The largest frame it takes, header included. */
  readonly maxFrameBytes: number;
  /** The longest message it takes. */
  readonly maxMessageBytes: number;
  /** The largest metadata block it takes. */
  readonly maxMetadataBytes: number;
  /** How many streams the other side may have open; their slots are below this number. */
  readonly maxConcurrentStreams: number;
  /** Credit that each stream begins with, for the other side's sending. */
  readonly streamWindowBytes: number;
  /** Credit that the connection begins with, for the other side's sending. */
  readonly connectionWindowBytes: number;
  /** How much it sets aside for messages that have arrived in part. */
  readonly reassemblyBytes: number;
  /** Bit set of `HelloTrait`. */
  readonly traits: number;
}

export const HelloTrait = {
  /** It does not answer PING while it has no call in flight (a synchronous client between calls). */
  ANSWERS_NO_PING: 0x1,
} as const;

export const HELLO_PAYLOAD_BYTES = MAGIC.length + 4 + 8 * 4;

/** Write a whole HELLO frame at `at`. Returns its size in bytes. */
export function writeHello(memory: Uint8Array, at: number, hello: Hello): number {
  let position = writeHeader(memory, at, HELLO_PAYLOAD_BYTES, 0, FrameType.HELLO, 0, hello.version);
  memory.set(MAGIC, position);
  position = writeU16(memory, position + MAGIC.length, hello.lowestVersion);
  position = writeU16(memory, position, 0);
  position = writeU32(memory, position, hello.maxFrameBytes);
  position = writeU32(memory, position, hello.maxMessageBytes);
  position = writeU32(memory, position, hello.maxMetadataBytes);
  position = writeU32(memory, position, hello.maxConcurrentStreams);
  position = writeU32(memory, position, hello.streamWindowBytes);
  position = writeU32(memory, position, hello.connectionWindowBytes);
  position = writeU32(memory, position, hello.reassemblyBytes);
  position = writeU32(memory, position, hello.traits);
  return position - at;
}

/** What a HELLO may offer, from and to: below it no call could be made, beyond it sums and stream ids would overflow. */
const OFFERS: { readonly [name in keyof Hello]?: readonly [least: number, most: number] } = {
  maxFrameBytes: [4096, 0xffff_ffff],
  maxConcurrentStreams: [0, MAX_SLOTS],
  streamWindowBytes: [4096, MAX_WINDOW_BYTES],
  connectionWindowBytes: [4096, MAX_WINDOW_BYTES],
};

/** Read the payload `memory[start..end)` of a HELLO. Bytes after the known fields are for later versions. */
export function readHello(memory: Uint8Array, start: number, end: number, version: number): Hello {
  if (end - start < HELLO_PAYLOAD_BYTES || !MAGIC.every((byte, i) => memory[start + i] === byte)) {
    throw new ProtocolError("the peer does not speak Sluice: its first frame is not a HELLO");
  }
  let at = start + MAGIC.length;
  const lowestVersion = readU16(memory, at);
  at += 4;
  const next = (): number => readU32(memory, (at += 4) - 4);
  const hello: Hello = {
    lowestVersion,
    version,
    maxFrameBytes: next(),
    maxMessageBytes: next(),
    maxMetadataBytes: next(),
    maxConcurrentStreams: next(),
    streamWindowBytes: next(),
    connectionWindowBytes: next(),
    reassemblyBytes: next(),
    traits: next(),
  };
  if (version < lowestVersion || WIRE_VERSION < lowestVersion || version < WIRE_VERSION) {
    throw new ProtocolError(
      `the peer speaks wire versions ${lowestVersion} to ${version}, this end speaks ${WIRE_VERSION}`,
      Status.FAILED_PRECONDITION,
    );
  }
  for (const [name, [least, most]] of Object.entries(OFFERS)) {
    const value = hello[name as keyof Hello];
    if (value < least || value > most) {
      throw new ProtocolError(`HELLO offers ${name} ${value}; it must be from ${least} to ${most}`);
    }
  }
  return hello;
}

/** Write `u16 length` and a metadata block at `at`. Returns the position after it. */
export function writeMetadata(memory: Uint8Array, at: number, block: Uint8Array): number {
  memory.set(block, writeU16(memory, at, block.length));
  return at + 2 + block.length;
}

/** Read a metadata block `memory[start..end)` (without its length). The result shares nothing with `memory`. */
export function readMetadata(memory: Uint8Array, start: number, end: number): ReceivedBlock {
  const metadata = receiveMetadata(memory, start, end);
  if (typeof metadata === "string") throw new ProtocolError(metadata);
  return metadata;
}

/** Bytes of a frame, to keep. (`slice` alone would not do: that of a Node Buffer copies nothing.) */
export function copyOf(memory: Uint8Array, start: number, end: number): Uint8Array {
  return Uint8Array.prototype.slice.call(memory, start, end);
}

export function writeAscii(memory: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) memory[at + i] = text.charCodeAt(i);
  return at + text.length;
}

export function readAscii(memory: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(memory[i]!);
  return text;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A status message as bytes, cut at a character's edge to at most `maxBytes`. */
export function encodeText(text: string, maxBytes: number): Uint8Array {
  const bytes = new Uint8Array(Math.min(maxBytes, text.length * 3));
  return bytes.subarray(0, encoder.encodeInto(text, bytes).written);
}

/** Text that a peer sent for people to read: bytes that are no UTF-8 become U+FFFD. */
export function decodeText(memory: Uint8Array, start: number, end: number): string {
  return decoder.decode(copyOf(memory, start, end));
}

// Error details travel as the bytes of a google.rpc.Status with only `details` (field 3, repeated google.protobuf.Any:
// 1 = type_url, 2 = value), so that gateways to gRPC can pass them on as they are.

export function encodeDetails(details: readonly ErrorDetail[]): Uint8Array {
  const writer = new MessageWriter();
  for (const { typeUrl, value } of details) {
    writer.uint32(0x1a).fork().uint32(0x0a).string(typeUrl).uint32(0x12).bytes(value).join();
  }
  return writer.finish();
}

/** Takes every encoding of a google.rpc.Status: others may say `code` and `message` too, or leave out what is empty. */
export function decodeDetails(memory: Uint8Array, start: number, end: number): ErrorDetail[] {
  const details: ErrorDetail[] = [];
  try {
    const reader = new MessageReader().begin(memory, start, end);
    while (reader.pos < end) {
      const [field, type] = reader.tag();
      if (field === 3 && type === WireType.LengthDelimited) details.push(decodeAny(reader.bytes()));
      else reader.skip(type, field);
    }
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new ProtocolError(`the details of a status are malformed: ${error.message}`);
  }
  return details;
}

function decodeAny(bytes: Uint8Array): ErrorDetail {
  let typeUrl = "";
  let value: Uint8Array = new Uint8Array(0);
  const reader = new MessageReader(bytes);
  while (reader.pos < bytes.length) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) typeUrl = reader.string();
    else if (field === 2 && type === WireType.LengthDelimited) value = reader.bytes();
    else reader.skip(type, field);
  }
  return { typeUrl, value };
}
