/** The layout of packets: docs/udp.md. All integers are little-endian. */
import { readU16, readU32, writeU16, writeU32 } from "@sluice/core/bytes";

/** How long a packet is at most before longer ones are known to arrive: what every path carries (RFC 9000, section 14). */
export const PACKET_BYTES = 1200;

/** The version of this protocol. */
export const VERSION = 1;

/** The first byte of a packet. */
export const Type = { INIT: 1, RETRY: 2, ACCEPT: 3, REFUSE: 4, RESET: 5, DATA: 6 } as const;

/** The first byte of each chunk of a DATA packet. */
export const Chunk = { PING: 1, ACK: 2, DATA: 3, END: 4, CLOSE: 5, PADDING: 6 } as const;

/** Why a server refuses a client: the third byte of REFUSE. */
export const Refusal = {
  VERSION: 1,
  SECRET_WANTED: 2,
  SECRET_UNWANTED: 3,
  SECRET_DIFFERS: 4,
  NOBODY_LISTENS: 5,
} as const;

/** What CLOSE says: that the connection has ended in order, or was given up. */
export const Close = { ENDED: 0, DESTROYED: 1 } as const;

export const ID_BYTES = 8;
export const COOKIE_BYTES = 32;
export const TOKEN_BYTES = 16;

// INIT, RETRY, ACCEPT and REFUSE begin alike: type, version, a flag or a reason, zero, the client's id.
export const CLIENT_ID_AT = 4;
export const INIT_COOKIE_AT = CLIENT_ID_AT + ID_BYTES;
export const INIT_BODY_AT = INIT_COOKIE_AT + COOKIE_BYTES;
export const RETRY_BYTES = INIT_COOKIE_AT + COOKIE_BYTES;
export const ACCEPT_BODY_AT = CLIENT_ID_AT + ID_BYTES;
export const REFUSE_BYTES = CLIENT_ID_AT + ID_BYTES;

// RESET and DATA: type, id; then the token, or the packet's number and the chunks.
export const ID_AT = 1;
export const RESET_TOKEN_AT = ID_AT + ID_BYTES;
export const RESET_BYTES = RESET_TOKEN_AT + TOKEN_BYTES;
export const NUMBER_AT = ID_AT + ID_BYTES;
export const DATA_HEADER_BYTES = NUMBER_AT + 6;

/** Of a DATA chunk before its bytes: type, offset, length. */
export const CHUNK_HEADER_BYTES = 1 + 6 + 2;

/** The number of a connection at one of its ends: 64 random bits, as two halves. */
export interface ConnectionId {
  readonly low: number;
  readonly high: number;
}

export function readU48(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + readU16(bytes, at + 4) * 0x1_0000_0000;
}

export function readId(bytes: Uint8Array, at: number): ConnectionId {
  return { low: readU32(bytes, at), high: readU32(bytes, at + 4) };
}

/** Each returns where what follows goes. */
export function writeU48(bytes: Uint8Array, at: number, value: number): number {
  writeU32(bytes, at, value >>> 0);
  return writeU16(bytes, at + 4, Math.floor(value / 0x1_0000_0000));
}

export function writeId(bytes: Uint8Array, at: number, id: ConnectionId): number {
  return writeU32(bytes, writeU32(bytes, at, id.low), id.high);
}

/** The numbers that both ends tell each other in the handshake. */
export interface Parameters {
  /** After how long a silence the sender gives the connection up, in milliseconds. */
  readonly idleTimeoutMs: number;
  /** How many bytes of the stream the sender holds that it has not delivered. */
  readonly windowBytes: number;
}

const PARAMETERS_BYTES = 8;
/** The least that a peer must hold: one largest frame. */
export const LEAST_WINDOW_BYTES = 128 * 1024;

/** The body of INIT, and, with the server's id, that of ACCEPT. */
export function encodeParameters({ idleTimeoutMs, windowBytes }: Parameters, id?: ConnectionId): Uint8Array {
  const body = new Uint8Array(PARAMETERS_BYTES + (id === undefined ? 0 : ID_BYTES));
  writeU32(body, writeU32(body, 0, idleTimeoutMs), windowBytes);
  if (id !== undefined) writeId(body, PARAMETERS_BYTES, id);
  return body;
}

/** Undefined for what no peer of this version sends. */
export function decodeParameters(body: Uint8Array): Parameters | undefined {
  if (body.length < PARAMETERS_BYTES) return undefined;
  const idleTimeoutMs = readU32(body, 0);
  const windowBytes = readU32(body, 4);
  return idleTimeoutMs > 0 && windowBytes >= LEAST_WINDOW_BYTES ? { idleTimeoutMs, windowBytes } : undefined;
}

/** The server's id behind the parameters of ACCEPT. */
export function decodeServerId(body: Uint8Array): ConnectionId | undefined {
  return body.length < PARAMETERS_BYTES + ID_BYTES ? undefined : readId(body, PARAMETERS_BYTES);
}

/** A packet of the handshake: what INIT, RETRY, ACCEPT and REFUSE have in common, then `parts`; zeros up to `bytes`. */
export function handshakePacket(
  type: number,
  detail: number,
  id: ConnectionId,
  parts: readonly Uint8Array[] = [],
  bytes = 0,
): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, CLIENT_ID_AT + ID_BYTES);
  const packet = new Uint8Array(Math.max(length, bytes));
  packet[0] = type;
  packet[1] = VERSION;
  packet[2] = detail;
  let at = writeId(packet, CLIENT_ID_AT, id);
  for (const part of parts) {
    packet.set(part, at);
    at += part.length;
  }
  return packet;
}
