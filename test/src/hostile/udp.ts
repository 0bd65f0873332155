/**
 * A client over UDP made from docs/udp.md alone: the bytes that it is given arrive at the server in order, and those of the server here.
 * Nothing here is shared with the implementation that it tests.
 */
import { randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { Duplex } from "node:stream";
import { within } from "../within.js";

const [INIT, RETRY, ACCEPT, DATA] = [1, 2, 3, 6];
const [PING, ACK, BYTES, END, CLOSE, PADDING] = [1, 2, 3, 4, 5, 6];
const PACKET_BYTES = 1200;
const HEADER_BYTES = 15;
const PIECE_BYTES = 1100;
const WINDOW_BYTES = 256 << 10;
/** Packets under way at most: what a socket surely holds. */
const MAX_PACKETS = 64;
/** When packets that were not acknowledged are sent again. */
const RESEND_MS = 50;
/** When an INIT that was not answered is. */
const INIT_MS = 250;

interface Piece {
  readonly offset: number;
  readonly bytes: Buffer;
  /** Whether the stream ends behind it. */
  readonly last: boolean;
}

export class UdpStream extends Duplex {
  readonly #socket: Socket;
  readonly #id: Buffer;
  readonly #serverId: Buffer;
  readonly #resend: NodeJS.Timeout;

  #nextNumber = 0;
  #unsent: Piece[] = [];
  readonly #underWay = new Map<number, Piece>();
  #offset = 0;
  #serverLimit: number;
  /** What to call when everything has been sent. */
  #written: (() => void) | undefined;

  /** The numbers that came: `[first, last]`, ascending. */
  readonly #received: [number, number][] = [];
  readonly #early = new Map<number, Buffer>();
  #delivered = 0;
  #limit = WINDOW_BYTES;

  static async connect(address: string): Promise<UdpStream> {
    const [, host, port] = /^udp:\/\/(.*):(\d+)$/.exec(address)!;
    const socket = createSocket("udp4");
    socket.connect(Number(port), host);
    await once(socket, "connect");
    try {
      return await UdpStream.#shakeHands(socket);
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  static async #shakeHands(socket: Socket): Promise<UdpStream> {
    const id = randomBytes(8);
    const parameters = Buffer.alloc(8);
    parameters.writeUInt32LE(30_000, 0);
    parameters.writeUInt32LE(WINDOW_BYTES, 4);
    /** The answer to an INIT of another type than `but`: a second one of that comes if an INIT was sent again. */
    const exchange = async (cookie: Buffer, but?: number): Promise<Buffer> => {
      const length = Buffer.of(parameters.length, 0);
      const parts = [Buffer.of(INIT, 1, 0, 0), id, cookie, length, parameters];
      const init = Buffer.concat([...parts, Buffer.alloc(PACKET_BYTES)], PACKET_BYTES);
      const answered = new Promise<Buffer>((resolve) => {
        socket.on("message", (packet: Buffer) => {
          // Others are for whoever had this port before.
          if (packet.subarray(4, 12).equals(id) && packet[0] !== but) resolve(packet);
        });
      });
      socket.send(init);
      const resend = setInterval(() => socket.send(init), INIT_MS);
      try {
        return await within(10_000, answered, "an answer to INIT");
      } finally {
        clearInterval(resend);
        socket.removeAllListeners("message");
      }
    };
    const retry = await exchange(Buffer.alloc(32));
    if (retry[0] !== RETRY) throw new Error(`the server answered INIT with type ${retry[0]}`);
    const accept = await exchange(retry.subarray(12, 44), RETRY);
    if (accept[0] !== ACCEPT) throw new Error(`the server answered INIT with type ${accept[0]}`);
    return new UdpStream(socket, id, accept.subarray(20, 28), accept.readUInt32LE(16));
  }

  constructor(socket: Socket, id: Buffer, serverId: Buffer, serverLimit: number) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.#id = id;
    this.#serverId = serverId;
    this.#serverLimit = serverLimit;
    socket.on("message", (packet: Buffer) => this.#onPacket(packet));
    socket.on("error", (error) => this.destroy(error));
    this.#resend = setInterval(() => this.#onResend(), RESEND_MS);
    this.#packet(Buffer.of(PING));
  }

  #packet(...chunks: Buffer[]): number {
    const header = Buffer.alloc(HEADER_BYTES);
    header[0] = DATA;
    this.#serverId.copy(header, 1);
    const number = this.#nextNumber++;
    header.writeUIntLE(number, 9, 6);
    this.#socket.send(Buffer.concat([header, ...chunks]));
    return number;
  }

  // Sending

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      this.#unsent.push({ offset: this.#offset, bytes: piece, last: false });
      this.#offset += piece.length;
    }
    this.#written = done;
    this.#sendMore();
  }

  override _final(done: () => void): void {
    this.#unsent.push({ offset: this.#offset, bytes: Buffer.alloc(0), last: true });
    this.#written = done;
    this.#sendMore();
  }

  #sendMore(): void {
    while (this.#underWay.size < MAX_PACKETS && this.#unsent.length > 0) {
      const piece = this.#unsent[0]!;
      if (piece.offset + piece.bytes.length > this.#serverLimit) break;
      this.#unsent.shift();
      this.#sendPiece(piece);
    }
    if (this.#unsent.length > 0) return;
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  #sendPiece(piece: Piece): void {
    const chunk = Buffer.alloc(9);
    chunk[0] = piece.last ? END : BYTES;
    chunk.writeUIntLE(piece.offset, 1, 6);
    chunk.writeUInt16LE(piece.bytes.length, 7);
    this.#underWay.set(this.#packet(piece.last ? chunk.subarray(0, 7) : chunk, piece.bytes), piece);
  }

  #onResend(): void {
    const pieces = [...this.#underWay].filter(([number]) => number < this.#oldAt);
    for (const [number, piece] of pieces) {
      this.#underWay.delete(number);
      this.#sendPiece(piece);
    }
    this.#oldAt = this.#nextNumber;
  }

  /** What has a smaller number was sent a while ago. */
  #oldAt = 0;

  // Receiving

  #onPacket(packet: Buffer): void {
    if (packet[0] !== DATA || !packet.subarray(1, 9).equals(this.#id)) return;
    this.#remember(packet.readUIntLE(9, 6));
    let asks = false;
    for (let at = HEADER_BYTES; at < packet.length;) {
      const type = packet[at++];
      if (type === ACK) {
        at = this.#onAck(packet, at);
        continue;
      }
      if (type === CLOSE) return this.#onClose();
      if (type === PADDING) break;
      asks = true;
      if (type === BYTES) {
        const length = packet.readUInt16LE(at + 6);
        const offset = packet.readUIntLE(at, 6);
        // What comes again may be cut otherwise.
        if (length > (this.#early.get(offset)?.length ?? 0)) {
          this.#early.set(offset, Buffer.from(packet.subarray(at + 8, at + 8 + length)));
        }
        at += 8 + length;
      } else if (type === END) {
        this.#end = packet.readUIntLE(at, 6);
        at += 6;
      }
    }
    this.#deliver();
    if (asks) this.#acknowledge();
  }

  /** Where the server's stream ends. */
  #end = Infinity;

  #onClose(): void {
    if (this.#delivered >= this.#end) this.push(null);
    this.destroy();
  }

  #remember(number: number): void {
    const ranges = this.#received;
    const last = ranges.at(-1);
    if (last !== undefined && number === last[1] + 1) last[1] = number;
    else if (last === undefined || number > last[1]) ranges.push([number, number]);
    // What was overtaken is not acknowledged, and comes again under another number.
    if (ranges.length > 8) ranges.shift();
  }

  #onAck(packet: Buffer, at: number): number {
    this.#serverLimit = Math.max(this.#serverLimit, packet.readUIntLE(at + 8, 6));
    let high = packet.readUIntLE(at, 6);
    let low = high - packet.readUInt16LE(at + 15);
    const count = packet[at + 14]!;
    at += 17;
    const acknowledge = (): void => {
      for (const number of this.#underWay.keys()) {
        if (number >= low && number <= high) this.#underWay.delete(number);
      }
    };
    acknowledge();
    for (let index = 0; index < count; index++, at += 4) {
      high = low - packet.readUInt16LE(at) - 1;
      low = high - packet.readUInt16LE(at + 2) + 1;
      acknowledge();
    }
    this.#sendMore();
    return at;
  }

  #deliver(): void {
    const pieces = [...this.#early].sort(([one], [other]) => one - other);
    for (const [offset, piece] of pieces) {
      if (offset > this.#delivered) break;
      this.#early.delete(offset);
      const bytes = piece.subarray(this.#delivered - offset);
      if (bytes.length === 0) continue;
      this.#delivered += bytes.length;
      // Who does not read gives no room.
      if (this.push(bytes)) this.#limit = this.#delivered + WINDOW_BYTES;
    }
    if (this.#delivered === this.#end) this.push(null);
  }

  override _read(): void {
    if (this.#limit === this.#delivered + WINDOW_BYTES) return;
    this.#limit = this.#delivered + WINDOW_BYTES;
    if (this.#received.length > 0) this.#acknowledge();
  }

  #acknowledge(): void {
    const ranges = [...this.#received].reverse();
    const [low, high] = ranges.shift()!;
    const chunk = Buffer.alloc(18 + 4 * ranges.length);
    chunk[0] = ACK;
    chunk.writeUIntLE(high, 1, 6);
    chunk.writeUIntLE(this.#limit, 9, 6);
    chunk[15] = ranges.length;
    chunk.writeUInt16LE(Math.min(high - low, 0xffff), 16);
    let above = low;
    for (const [index, [first, last]] of ranges.entries()) {
      chunk.writeUInt16LE(Math.min(above - last - 1, 0xffff), 18 + 4 * index);
      chunk.writeUInt16LE(Math.min(last - first + 1, 0xffff), 20 + 4 * index);
      above = first;
    }
    this.#packet(chunk);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearInterval(this.#resend);
    const finish = (): void => void this.#socket.close(() => done(error));
    const header = Buffer.alloc(HEADER_BYTES);
    header[0] = DATA;
    this.#serverId.copy(header, 1);
    header.writeUIntLE(this.#nextNumber, 9, 6);
    this.#socket.send(Buffer.concat([header, Buffer.of(CLOSE, 1)]), finish);
  }
}
