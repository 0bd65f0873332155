import type { Connection } from "@sluice/core";
import { readU16, readU32 } from "@sluice/core/bytes";
import { UdpConnection } from "./connection.js";
import { Cookies, resetToken } from "./cookie.js";
import { Endpoint, randomId, type Loop } from "./endpoint.js";
import { Handshake, NoiseProtection } from "./noise.js";
import {
  CLIENT_ID_AT,
  COOKIE_BYTES,
  DATA_HEADER_BYTES,
  decodeParameters,
  encodeParameters,
  handshakePacket,
  ID_AT,
  INIT_BODY_AT,
  INIT_COOKIE_AT,
  PACKET_BYTES,
  readId,
  Refusal,
  RESET_BYTES,
  RESET_TOKEN_AT,
  Type,
  VERSION,
  writeId,
  type ConnectionId,
} from "./packet.js";
import type { CreatePacketCipher } from "./packet-cipher.js";
import type { ParametersFor } from "./options.js";
import { prologue } from "./prologue.js";
import type { Protection } from "./protection.js";
import { formatIp, isLoopbackRoute, portOf } from "./route.js";
import { ROUTE_WORDS, type DatagramSocket, type Route } from "./socket.js";

/**
 * Clients whose address is true, but that have not shown that they received ACCEPT. The oldest makes room: a good client shows it within
 * a round trip.
 */
const MAX_UNCONFIRMED = 1024;

export interface ServerOptions {
  /** The address that clients connect to. */
  readonly address: string;
  readonly secret: Uint8Array | undefined;
  /** What packets with a secret are encrypted by; `node:crypto` where the platform has nothing better. */
  readonly createCipher?: CreatePacketCipher | undefined;
  readonly accept: (connection: Connection) => void;
  readonly parameters: ParametersFor;
}

interface Client {
  readonly connection: UdpConnection;
  readonly id: ConnectionId;
  readonly key: string;
  /** The answer to its INIT, should it come again. */
  readonly accept: Uint8Array;
  readonly options: ServerOptions;
  /** It has answered. */
  confirmed: boolean;
  /** Who had the same address before and has answered; until this one has. */
  previous: Client | undefined;
}

/** The server's end of all connections of one socket. */
export class ServerEndpoint extends Endpoint {
  readonly #cookies = new Cookies();
  /** By the low half of the server's id, which is enough to tell them apart here. */
  readonly #byId = new Map<number, Client>();
  readonly #byAddress = new Map<string, Client>();
  readonly #unconfirmed = new Set<Client>();
  /** Whoever listens. Connections live on without. */
  #options: ServerOptions | undefined;
  /** Answers packets of connections that are not known, also after the listener's end. */
  #secret: Uint8Array | undefined;
  readonly #onClosed: () => void;

  /** Takes over `socket`. `onClosed` is called when there is neither a listener nor a connection any more. */
  constructor(loop: Loop, socket: DatagramSocket, onClosed: () => void) {
    super(loop, socket);
    this.#onClosed = onClosed;
  }

  protected *connections(): Iterable<UdpConnection> {
    for (const { connection } of this.#byId.values()) yield connection;
  }

  get port(): number {
    return this.socket.port;
  }

  get listening(): boolean {
    return this.#options !== undefined;
  }

  /** Begins to take new clients; ends by the `close` of what it returns, which is idempotent. There must be no other listener. */
  listen(options: ServerOptions): { close(): void; setRef(on: boolean): void } {
    this.#options = options;
    this.#secret = options.secret;
    this.setRef(options, true);
    return {
      close: () => {
        if (this.#options === options) this.#stopListening(options);
      },
      setRef: (on) => {
        if (this.#options === options) this.setRef(options, on);
      },
    };
  }

  #stopListening(options: ServerOptions): void {
    this.#options = undefined;
    this.setRef(options, false);
    for (const { connection } of [...this.#unconfirmed]) connection.destroy();
    this.#closeIfUnused();
  }

  protected onPacket(
    memory: Uint8Array,
    start: number,
    end: number,
    words: Int32Array,
    address: number,
    now: number,
  ): void {
    const type = memory[start];
    if (type === Type.DATA) {
      if (end - start < DATA_HEADER_BYTES) return;
      const client = this.#byId.get(readU32(memory, start + ID_AT));
      if (client === undefined || client.connection.id.high !== readU32(memory, start + ID_AT + 4)) {
        this.#reset(memory, start, routeAt(words, address));
      } else if (isSame(client.connection.route, words, address)) {
        const isTrue = this.deliver(client.connection, memory, start, end, now);
        if (isTrue && this.#unconfirmed.delete(client)) this.#confirm(client);
      }
    } else if (type === Type.INIT && end - start >= PACKET_BYTES) {
      // Shorter ones could make this an amplifier: what is sent back is always less than what came.
      this.#onInit(memory, start, end, routeAt(words, address), now);
    }
  }

  #reset(memory: Uint8Array, start: number, route: Route): void {
    const packet = new Uint8Array(RESET_BYTES);
    const id = readId(memory, start + ID_AT);
    packet[0] = Type.RESET;
    writeId(packet, ID_AT, id);
    packet.set(resetToken(this.#secret, id), RESET_TOKEN_AT);
    this.post(route, packet);
  }

  #onInit(memory: Uint8Array, start: number, end: number, route: Route, now: number): void {
    const id = readId(memory, start + CLIENT_ID_AT);
    const refuse = (reason: number): void => this.post(route, handshakePacket(Type.REFUSE, reason, id));
    const options = this.#options;
    if (options === undefined) return refuse(Refusal.NOBODY_LISTENS);
    if (memory[start + 1] !== VERSION) return refuse(Refusal.VERSION);
    const { secret } = options;
    const secretive = memory[start + 2] === 1;
    if (secretive !== (secret !== undefined)) {
      return refuse(secretive ? Refusal.SECRET_UNWANTED : Refusal.SECRET_WANTED);
    }
    const address = new Uint8Array(route.buffer, route.byteOffset, route.byteLength);
    const cookie = memory.subarray(start + INIT_COOKIE_AT, start + INIT_COOKIE_AT + COOKIE_BYTES);
    if (!this.#cookies.accepts(cookie, address, id, now)) {
      return this.post(route, handshakePacket(Type.RETRY, 0, id, [this.#cookies.make(address, id, now)]));
    }

    const key = route.join();
    const known = this.#byAddress.get(key);
    if (known?.id.low === id.low && known.id.high === id.high) return this.post(route, known.accept);

    const bodyAt = start + INIT_BODY_AT + 2;
    const body = memory.subarray(bodyAt, Math.min(bodyAt + readU16(memory, start + INIT_BODY_AT), end));
    const handshake = secret && new Handshake(false, secret, prologue(id));
    const plain = handshake === undefined ? body : handshake.read(body);
    if (plain === undefined) return refuse(Refusal.SECRET_DIFFERS);
    const theirs = decodeParameters(plain);
    if (theirs === undefined) return;
    const remoteAddress = formatIp(route);
    const own = options.parameters(remoteAddress, this.socket.heldBytes);
    const serverId = this.#freshId();
    const parameters = encodeParameters(own, serverId);
    const answer = handshake === undefined ? parameters : handshake.write(parameters);
    if (answer === undefined) return;
    const protection: Protection | undefined =
      handshake && new NoiseProtection(handshake.split(), options.createCipher);
    const client: Client = {
      id,
      key,
      accept: handshakePacket(Type.ACCEPT, 0, id, [answer]),
      options,
      confirmed: false,
      // Those that have not answered are not kept by those that come after them.
      previous: known?.confirmed === false ? known.previous : known,
      connection: new UdpConnection(this, {
        id: serverId,
        peerId: id,
        route,
        own,
        theirs,
        protection,
        peer: { address: options.address, remoteAddress, remotePort: portOf(route) },
        rttMs: undefined,
      }),
    };
    if (this.#unconfirmed.size >= MAX_UNCONFIRMED) {
      const [oldest] = this.#unconfirmed;
      oldest!.connection.destroy();
    }
    this.#unconfirmed.add(client);
    this.#byId.set(serverId.low, client);
    this.#byAddress.set(key, client);
    this.post(route, client.accept);
  }

  #freshId(): ConnectionId {
    let id = randomId();
    while (this.#byId.has(id.low)) id = randomId();
    return id;
  }

  /** The client has answered: the connection exists. */
  #confirm(client: Client): void {
    const { connection, options, previous } = client;
    client.confirmed = true;
    client.previous = undefined;
    // A client has a socket for each connection: there is nobody any more at the other one.
    previous?.connection.onRefused();
    if (this.#options !== options) return connection.destroy();
    connection.ref();
    options.accept(connection);
  }

  /** From another host it may be forged, or pass; then silence decides. */
  onRefused(words: Int32Array, at: number): void {
    const route = routeAt(words, at);
    if (isLoopbackRoute(route)) this.#byAddress.get(route.join())?.connection.onRefused();
  }

  onError(error: Error): void {
    for (const connection of this.connections()) connection.destroy(error);
  }

  override release(connection: UdpConnection, packet: Uint8Array, lingerMs: number): void {
    const client = this.#byId.get(connection.id.low);
    if (client !== undefined) this.#unconfirmed.delete(client);
    super.release(connection, packet, lingerMs);
  }

  protected forget(connection: UdpConnection): void {
    const client = this.#byId.get(connection.id.low)!;
    this.#byId.delete(connection.id.low);
    if (this.#byAddress.get(client.key) === client) this.#byAddress.delete(client.key);
    this.#closeIfUnused();
  }

  #closeIfUnused(): void {
    if (this.closed || this.#options !== undefined || this.#byId.size > 0) return;
    this.close();
    this.#onClosed();
  }
}

function routeAt(words: Int32Array, at: number): Route {
  return words.slice(at, at + ROUTE_WORDS);
}

function isSame(route: Route, words: Int32Array, at: number): boolean {
  for (let index = 0; index < ROUTE_WORDS; index++) if (route[index] !== words[at + index]) return false;
  return true;
}
