/**
 * A client made from the specification of the wire alone (docs/wire.md), over a plain socket, rings or FIFOs: it sends whatever it is
 * told to, in whatever order. Nothing here is shared with the implementation that it tests.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout } from "node:timers/promises";
import { connect as connectSecure, type TLSSocket } from "node:tls";
import { clientOptions } from "../identity.js";
import { within } from "../within.js";
import { CarriedStream } from "./carried.js";
import { FifoStream } from "./fifo.js";
import { RingPeer, RingStream } from "./ring.js";
import { UdpStream } from "./udp.js";

export const Type = {
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

export const Flag = {
  /** OPEN */
  NAMED: 0x01,
  TIMEOUT: 0x02,
  /** END, RESET */
  TEXT: 0x01,
  DETAILS: 0x02,
  METADATA: 0x04,
  MESSAGE: 0x08,
  MORE: 0x10,
  LAST: 0x20,
  NOT_RUN: 0x40,
  OPTIONAL: 0x80,
} as const;

export const HEADER_BYTES = 12;
export const MAGIC = "SLUICE\r\n";
const VERSION = 1;

export interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly aux: number;
  readonly payload: Buffer;
}

/** A frame as bytes; `length` overrides what its header says of the payload's length. */
export function frame(parts: Partial<Frame> & { type: number; length?: number }): Buffer {
  const { type, stream = 0, flags = 0, aux = 0, payload = Buffer.alloc(0), length = payload.length } = parts;
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt32LE(stream >>> 0, 4);
  bytes[8] = type;
  bytes[9] = flags;
  bytes.writeUInt16LE(aux, 10);
  payload.copy(bytes, HEADER_BYTES);
  return bytes;
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value & 0xffff);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** `u16` length and the bytes. */
export function part(bytes: Buffer | string): Buffer {
  const content = Buffer.from(bytes);
  return Buffer.concat([u16(content.length), content]);
}

/** The id of a stream that the connecting side opens. */
export function streamId(slot: number, generation = 1): number {
  return ((generation << 17) | (slot << 1) | 1) >>> 0;
}

export interface HelloFields {
  readonly magic?: string;
  readonly lowestVersion?: number;
  readonly version?: number;
  readonly maxFrameBytes?: number;
  readonly streamWindowBytes?: number;
  readonly connectionWindowBytes?: number;
}

export function hello(fields: HelloFields = {}): Buffer {
  const payload = Buffer.concat([
    Buffer.from(fields.magic ?? MAGIC, "latin1"),
    u16(fields.lowestVersion ?? VERSION),
    u16(0),
    u32(fields.maxFrameBytes ?? 65_536),
    u32(4 << 20), // the longest message
    u32(16 << 10), // the largest metadata
    u32(1024), // streams
    u32(fields.streamWindowBytes ?? 256 << 10),
    u32(fields.connectionWindowBytes ?? 16 << 20),
    u32(8 << 20), // reassembly
    u32(0), // traits
  ]);
  return frame({ type: Type.HELLO, aux: fields.version ?? VERSION, payload });
}

/** An OPEN that names its method, whose number is `number`. */
export function open(
  stream: number,
  number: number,
  path: string,
  flags = 0,
  rest: Buffer = Buffer.alloc(0),
): Buffer {
  return frame({
    type: Type.OPEN,
    stream,
    flags: flags | Flag.NAMED,
    aux: number,
    payload: Buffer.concat([part(path), rest]),
  });
}

/** An OPEN of a method that has been named before. */
export function openAgain(stream: number, number: number, flags = 0, rest: Buffer = Buffer.alloc(0)): Buffer {
  return frame({ type: Type.OPEN, stream, flags, aux: number, payload: rest });
}

async function connectSocket(address: string): Promise<Socket> {
  const tcp = /^tcp:\/\/(.*):(\d+)$/.exec(address);
  for (;;) {
    const socket =
      tcp === null
        ? connect(address.replace(/^unix:/, ""))
        : connect(Number(tcp[2]), tcp[1]!.replace(/[[\]]/g, ""));
    try {
      await once(socket, "connect");
      return socket.setNoDelay();
    } catch (error) {
      // More connections wait than the server's queue holds: unix(7).
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await setTimeout(1);
    }
  }
}

async function connectTls(host: string, port: number): Promise<TLSSocket> {
  const socket = connectSecure({ host, port, ALPNProtocols: ["sluice/1"], ...clientOptions });
  await within(10_000, once(socket, "secureConnect"), `a TLS connection to ${host}:${port}`);
  return socket;
}

export class RawPeer {
  /** The names of the carriers that the hostile suites speak: each way to connect, once. */
  static readonly carriers: readonly string[] = [
    "unix:",
    "tcp://127.0.0.1",
    "tls://127.0.0.1",
    "udp://127.0.0.1",
    "shm:",
    "fifo:",
    "mq:",
    "sysvmq:",
  ];
  /** The server's GOAWAY, if it has sent one. */
  goaway: { readonly code: number; readonly text: string } | undefined;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>;
  /** Called with every frame that arrives. */
  onFrame: (frame: Frame) => void = () => {};
  /** Whether the connection is gone. */
  ended = false;
  readonly #socket: Duplex;
  #pings = 0;
  #onPong: (payload: Buffer) => void = () => {};
  #buffer: Buffer = Buffer.alloc(0);
  #waiting: { readonly type: number; readonly resolve: (frame: Frame) => void }[] = [];

  /** Takes over a connection to a server. */
  constructor(socket: Duplex) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.ended = true;
        resolve();
      });
    });
    // A reset is one way to be refused; what counts is whether a GOAWAY came first.
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
  }

  /** Connect to an address of any of the transports that have one; says nothing. */
  static async connect(address: string): Promise<RawPeer> {
    if (/^(shm|mmap):/.test(address)) return new RawPeer(new RingStream(await RingPeer.connect(address)));
    if (address.startsWith("fifo:")) return new RawPeer(await FifoStream.connect(address));
    if (address.startsWith("udp:")) return new RawPeer(await UdpStream.connect(address));
    if (/^(mq|sysvmq):/.test(address)) return new RawPeer(await CarriedStream.connect(address));
    const tls = /^tls:\/\/(.*):(\d+)$/.exec(address);
    if (tls !== null) return new RawPeer(await connectTls(tls[1]!, Number(tls[2])));
    return new RawPeer(await within(10_000, connectSocket(address), `a connection to ${address}`));
  }

  /** Connect, and say HELLO as a good client would. */
  static async greet(address: string, fields?: HelloFields): Promise<RawPeer> {
    const peer = await RawPeer.connect(address);
    peer.send(hello(fields));
    await peer.next(Type.HELLO);
    return peer;
  }

  send(...frames: readonly Buffer[]): void {
    if (!this.#socket.destroyed) this.#socket.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames));
  }

  /** Send, and wait until the kernel has taken it all or the connection is gone. */
  async deliver(...frames: readonly Buffer[]): Promise<void> {
    const written = new Promise<void>((resolve) =>
      this.#socket.write(Buffer.concat(frames), () => resolve()),
    );
    await within(30_000, Promise.race([written, this.closed]), "the kernel to take what was sent");
  }

  /** The next frame of a type. Rejects if the connection ends first. */
  next(type: number): Promise<Frame> {
    const arrived = new Promise<Frame>((resolve) => this.#waiting.push({ type, resolve }));
    const gone = this.closed.then(() => {
      throw new Error(
        `the connection ended before a frame of type ${type}; GOAWAY: ${this.goaway?.text ?? "none"}`,
      );
    });
    return within(10_000, Promise.race([arrived, gone]), `a frame of type ${type}`);
  }

  /** Resolves when the server has dealt with everything sent so far. Rejects if the connection ends first. */
  async settle(): Promise<void> {
    await this.settled();
    if (this.ended) throw new Error(`the connection has ended; GOAWAY: ${this.goaway?.text ?? "none"}`);
  }

  /** The same, and also when the connection has ended. */
  async settled(): Promise<void> {
    // A server answers the last of several PINGs; this one is told from others by its payload.
    const payload = u64(++this.#pings);
    const answered = new Promise<void>(
      (resolve) => (this.#onPong = (pong) => pong.equals(payload) && resolve()),
    );
    this.send(frame({ type: Type.PING, payload }));
    await within(
      10_000,
      Promise.race([answered, this.closed]),
      "an answer to a PING, or the end of the connection",
    );
  }

  /** Stop reading: the server's output backs up. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** End this side in an orderly way, and wait for the server to end its own. */
  async end(): Promise<void> {
    this.#socket.end();
    await within(10_000, this.closed, "the server to close the connection");
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    let at = 0;
    while (this.#buffer.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + this.#buffer.readUInt32LE(at);
      if (end > this.#buffer.length) break;
      this.#onFrame({
        stream: this.#buffer.readUInt32LE(at + 4),
        type: this.#buffer[at + 8]!,
        flags: this.#buffer[at + 9]!,
        aux: this.#buffer.readUInt16LE(at + 10),
        payload: this.#buffer.subarray(at + HEADER_BYTES, end),
      });
      at = end;
    }
    this.#buffer = this.#buffer.subarray(at);
  }

  #onFrame(received: Frame): void {
    this.onFrame(received);
    if (received.type === Type.PONG) this.#onPong(received.payload);
    if (received.type === Type.GOAWAY) {
      this.goaway = { code: received.aux, text: received.payload.toString("utf8", 4) };
    }
    const at = this.#waiting.findIndex(({ type }) => type === received.type);
    if (at >= 0) this.#waiting.splice(at, 1)[0]!.resolve(received);
  }
}
