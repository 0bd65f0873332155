import { timingSafeEqual } from "node:crypto";
import { RpcError, Status, type Timer } from "@sluice/core";
import { readU32 } from "@sluice/core/bytes";
import { UdpConnection } from "./connection.js";
import { resetToken } from "./cookie.js";
import { Endpoint, randomId, type Loop } from "./endpoint.js";
import { Handshake, NoiseProtection } from "./noise.js";
import {
  ACCEPT_BODY_AT,
  CLIENT_ID_AT,
  COOKIE_BYTES,
  DATA_HEADER_BYTES,
  decodeParameters,
  decodeServerId,
  encodeParameters,
  handshakePacket,
  ID_AT,
  INIT_COOKIE_AT,
  PACKET_BYTES,
  Refusal,
  REFUSE_BYTES,
  RESET_BYTES,
  RESET_TOKEN_AT,
  RETRY_BYTES,
  Type,
  VERSION,
  type ConnectionId,
  type Parameters,
} from "./packet.js";
import type { CreatePacketCipher } from "./packet-cipher.js";
import { prologue } from "./prologue.js";
import type { Protection } from "./protection.js";
import { ROUTE_WORDS, type DatagramSocket } from "./socket.js";

/** When INIT is sent again without an answer: after this, then after twice as long, and so on, up to this. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 1000;
/** How long a server may take to answer, if the caller does not give up before. */
const HANDSHAKE_MS = 10_000;

export interface ClientOptions {
  /** What was connected to, and the IP address and port that it stands for. */
  readonly address: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly secret: Uint8Array | undefined;
  /** What packets with a secret are encrypted by; `node:crypto` where the platform has nothing better. */
  readonly createCipher?: CreatePacketCipher | undefined;
  readonly parameters: Parameters;
  /** Whether the kernel's word that nobody listens can only come from this host. */
  readonly loopback: boolean;
}

/** The client's end of one connection, with a socket of its own that is connected to the server. */
export class ClientEndpoint extends Endpoint {
  readonly #options: ClientOptions;
  readonly #id: ConnectionId = randomId();
  readonly #handshake: Handshake | undefined;
  readonly #body: Uint8Array;
  #cookie: Uint8Array = new Uint8Array(COOKIE_BYTES);
  #connection: UdpConnection | undefined;
  #serverId: ConnectionId | undefined;

  readonly #startedAt: number;
  #sentAt = 0;
  #retries = 0;
  #retry: Timer | undefined;
  #settle: { resolve(connection: UdpConnection): void; reject(error: Error): void } | undefined;

  /** Takes over `socket`. */
  constructor(loop: Loop, socket: DatagramSocket, options: ClientOptions) {
    super(loop, socket);
    this.#options = options;
    this.#startedAt = this.now();
    const parameters = encodeParameters(options.parameters);
    const { secret } = options;
    if (secret !== undefined) this.#handshake = new Handshake(true, secret, prologue(this.#id));
    this.#body = this.#handshake?.write(parameters) ?? parameters;
  }

  protected connections(): readonly UdpConnection[] {
    return this.#connection === undefined ? [] : [this.#connection];
  }

  /** Rejects with an `RpcError`, or the system error by which the kernel says that nobody listens. */
  connect(): Promise<UdpConnection> {
    this.setRef(this, true);
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#init();
    });
  }

  /** Gives up connecting. */
  abandon(error: Error): void {
    if (this.#settle === undefined) return;
    const { reject } = this.#settle;
    this.#settled();
    this.close();
    reject(error);
  }

  #settled(): void {
    this.#settle = undefined;
    this.#retry?.cancel();
    this.setRef(this, false);
  }

  #init(): void {
    const now = this.now();
    const left = this.#startedAt + HANDSHAKE_MS - now;
    if (left <= 0) {
      const waited = `no answer in ${HANDSHAKE_MS / 1000} s`;
      const { address } = this.#options;
      return this.abandon(new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: ${waited}`));
    }
    const secret = this.#handshake === undefined ? 0 : 1;
    this.post(
      new Int32Array(ROUTE_WORDS),
      handshakePacket(
        Type.INIT,
        secret,
        this.#id,
        [this.#cookie, lengthOf(this.#body), this.#body],
        PACKET_BYTES,
      ),
    );
    this.#sentAt = now;
    const pause = Math.min(FIRST_RETRY_MS * 2 ** this.#retries, LONGEST_RETRY_MS, left);
    this.#retry?.cancel();
    this.#retry = this.loop.clock.setTimer(() => {
      this.#retries++;
      this.#init();
    }, pause);
  }

  protected onPacket(
    memory: Uint8Array,
    start: number,
    end: number,
    _words: Int32Array,
    _address: number,
    now: number,
  ): void {
    const type = memory[start];
    const length = end - start;
    if (type === Type.DATA) {
      if (this.#connection === undefined || length < DATA_HEADER_BYTES) return;
      if (this.#isOwn(memory, start + ID_AT)) this.deliver(this.#connection, memory, start, end, now);
    } else if (type === Type.RESET) {
      this.#onReset(memory, start, length);
    } else if (
      this.#settle !== undefined &&
      length >= REFUSE_BYTES &&
      this.#isOwn(memory, start + CLIENT_ID_AT)
    ) {
      if (type === Type.RETRY && length === RETRY_BYTES) {
        this.#cookie = memory.slice(start + INIT_COOKIE_AT, end);
        this.#init();
      } else if (type === Type.ACCEPT) {
        this.#onAccept(memory.subarray(start + ACCEPT_BODY_AT, end), now);
      } else if (type === Type.REFUSE) {
        this.abandon(this.#refusal(memory[start + 1]!, memory[start + 2]!));
      }
    }
  }

  #isOwn(memory: Uint8Array, at: number): boolean {
    return readU32(memory, at) === this.#id.low && readU32(memory, at + 4) === this.#id.high;
  }

  #onAccept(body: Uint8Array, now: number): void {
    const handshake = this.#handshake;
    const plain = handshake === undefined ? body : handshake.read(body);
    const theirs = plain && decodeParameters(plain);
    const peerId = plain && decodeServerId(plain);
    // Not what a server sends: the true answer may still come.
    if (theirs === undefined || peerId === undefined) return;
    const protection: Protection | undefined =
      handshake && new NoiseProtection(handshake.split(), this.#options.createCipher);
    const { address, remoteAddress, remotePort, parameters } = this.#options;
    this.#serverId = peerId;
    const connection = new UdpConnection(this, {
      id: this.#id,
      peerId,
      route: new Int32Array(ROUTE_WORDS),
      own: parameters,
      theirs,
      protection,
      peer: { address, remoteAddress, remotePort },
      rttMs: this.#retries === 0 ? now - this.#sentAt : undefined,
    });
    this.#connection = connection;
    const { resolve } = this.#settle!;
    this.#settled();
    connection.ref();
    // The server knows only by a packet that its answer arrived.
    connection.ping();
    resolve(connection);
  }

  #refusal(version: number, reason: number): RpcError {
    const [status, why] = refusals(version)[reason] ?? [
      Status.UNAVAILABLE,
      `for an unknown reason (${reason})`,
    ];
    return new RpcError(status, `${this.#options.address} refuses to be connected to: ${why}`);
  }

  #onReset(memory: Uint8Array, start: number, length: number): void {
    const id = this.#serverId;
    if (id === undefined || length !== RESET_BYTES) return;
    if (readU32(memory, start + ID_AT) !== id.low || readU32(memory, start + ID_AT + 4) !== id.high) return;
    const token = memory.subarray(start + RESET_TOKEN_AT, start + RESET_BYTES);
    if (timingSafeEqual(token, resetToken(this.#options.secret, id))) this.#connection!.onReset();
  }

  /** From further away it may be forged, or pass; then silence decides. */
  onRefused(): void {
    if (this.#settle !== undefined) {
      const refused = Object.assign(new Error("connection refused"), { code: "ECONNREFUSED" });
      this.abandon(refused);
    } else if (this.#options.loopback) this.#connection!.onRefused();
  }

  onError(error: Error): void {
    this.abandon(error);
    this.#connection?.destroy(
      new RpcError(Status.UNAVAILABLE, `the socket to ${this.#options.address} broke: ${error.message}`, {
        cause: error,
      }),
    );
  }

  protected forget(): void {
    this.close();
  }
}

function lengthOf(body: Uint8Array): Uint8Array {
  return Uint8Array.of(body.length & 0xff, body.length >>> 8);
}

function refusals(version: number): Record<number, readonly [Status, string]> {
  return {
    [Refusal.VERSION]: [
      Status.UNAVAILABLE,
      `it speaks version ${version} of the protocol over UDP, and this end version ${VERSION}`,
    ],
    [Refusal.SECRET_WANTED]: [
      Status.PERMISSION_DENIED,
      "it has a secret; give the option secret with the same one",
    ],
    [Refusal.SECRET_UNWANTED]: [
      Status.PERMISSION_DENIED,
      "it has no secret; give its listen the option secret, or connect without",
    ],
    [Refusal.SECRET_DIFFERS]: [Status.PERMISSION_DENIED, "its secret is not the one given here"],
    [Refusal.NOBODY_LISTENS]: [Status.UNAVAILABLE, "nobody listens there any more"],
  };
}
