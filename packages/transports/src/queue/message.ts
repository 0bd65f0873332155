/**
 * What every message in a queue begins with, 16 bytes, little-endian: `u32 connection, u32 secret, u32 limit, u16 wants,
 * u8 kind, u8 version`. docs/transports.md, "Message queues", has the protocol.
 */

export const HEADER_BYTES = 16;
export const VERSION = 1;

/** A client makes itself known to a server; an `Announcement` follows. */
export const ANNOUNCE = 1;
/** The server's answer; a `Welcome` follows. */
export const WELCOME = 2;
/** The server's other answer; a `Refusal` follows. */
export const REFUSE = 3;
/** Bytes of the connection's stream follow. */
export const DATA = 4;
/** Nothing follows: only the header's fields count. Takes no slots. */
export const GRANT = 5;
/** The sender will send nothing more. Takes no slots. */
export const END = 6;
/** To oneself: whatever else a peer that is gone had sent came before this. */
export const LAST = 7;

const MAGIC = 0x514d4c53; // "SLMQ"

/** Where messages for one end of a connection go: its number in the queue, and what only its peer knows. */
export interface Destination {
  readonly connection: number;
  readonly secret: number;
}

const header = new Uint8Array(HEADER_BYTES);
const headerView = new DataView(header.buffer);

/** The header of a message, in memory that the next call uses again. */
export function makeHeader(
  to: Destination,
  kind: number,
  limit: number,
  wants: number,
): Uint8Array<ArrayBuffer> {
  headerView.setUint32(0, to.connection, true);
  headerView.setUint32(4, to.secret, true);
  headerView.setUint32(8, limit, true);
  headerView.setUint16(12, Math.min(wants, 0xffff), true);
  headerView.setUint8(14, kind);
  headerView.setUint8(15, VERSION);
  return header;
}

/** Who sends, as it says of itself: what its process is called, and in which pid namespace (pid_namespaces(7)). */
export interface Claim {
  readonly pid: number;
  readonly namespace: number;
}

export interface Announcement extends Claim {
  /** What the server opens to answer: a queue's name or number. */
  readonly reply: string;
}

export interface Welcome extends Claim {
  readonly destination: Destination;
  /** What the client opens to send: a queue's name or number. */
  readonly inbound: string;
}

export function encodeAnnouncement({ pid, namespace, reply }: Announcement): Uint8Array {
  return encode([MAGIC, pid, namespace], reply);
}

/** Undefined for anything malformed. */
export function decodeAnnouncement(bytes: Uint8Array): Announcement | undefined {
  const decoded = decode(bytes, 3);
  if (decoded === undefined) return undefined;
  const [, pid, namespace] = decoded.words as [number, number, number];
  return { pid, namespace, reply: decoded.text };
}

export function encodeWelcome({ pid, namespace, destination, inbound }: Welcome): Uint8Array {
  return encode([MAGIC, pid, namespace, destination.connection, destination.secret], inbound);
}

export function decodeWelcome(bytes: Uint8Array): Welcome | undefined {
  const decoded = decode(bytes, 5);
  if (decoded === undefined) return undefined;
  const [, pid, namespace, connection, secret] = decoded.words as [number, number, number, number, number];
  return { pid, namespace, destination: { connection, secret }, inbound: decoded.text };
}

export function encodeRefusal(why: string): Uint8Array {
  return encode([MAGIC], why);
}

export function decodeRefusal(bytes: Uint8Array): string | undefined {
  return decode(bytes, 1)?.text;
}

function encode(words: readonly number[], text: string): Uint8Array {
  const bytes = Buffer.alloc(4 * words.length + Buffer.byteLength(text));
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, 4 * index);
  bytes.write(text, 4 * words.length);
  return bytes;
}

function decode(
  bytes: Uint8Array,
  count: number,
): { readonly words: readonly number[]; readonly text: string } | undefined {
  if (bytes.length < 4 * count) return undefined;
  const buffer = Buffer.from(bytes);
  const words = Array.from({ length: count }, (_, index) => buffer.readUInt32LE(4 * index));
  if (words[0] !== MAGIC) return undefined;
  return { words, text: buffer.toString("utf8", 4 * count) };
}
