import { randomBytes } from "node:crypto";
import type { Clock, Timer } from "@sluice/core";
import type { Link, UdpConnection } from "./connection.js";
import { Deadlines, type Due } from "./deadlines.js";
import { readId, type ConnectionId } from "./packet.js";
import { PacketBatch } from "./packet-batch.js";
import {
  ADDRESS,
  LENGTH,
  NEXT,
  RECORD_HEADER_BYTES,
  SEGMENT,
  type DatagramHandler,
  type DatagramSocket,
  type Route,
} from "./socket.js";

/** The event loop as endpoints see it. */
export interface Loop {
  readonly clock: Clock;
  /** Calls `callback` at the end of this turn of the event loop. */
  afterTurn(callback: () => void): void;
  /** Calls `callback` when the loop's thread ends by itself. Returns a function that takes that back. */
  atExit(callback: () => void): () => void;
}

/** Something that is due at times. What it puts into the batch is sent. */
interface Timed extends Due {
  onDeadline(now: number): void;
}

/** So often, and no more: two ends that are over would otherwise answer each other's answers. */
const PARTING_ANSWERS = 8;

/** Answers a peer that does not know yet that its connection is over. */
class Parting implements Timed {
  queueIndex = -1;
  answers = PARTING_ANSWERS;

  constructor(
    readonly packet: Uint8Array,
    readonly deadline: number,
    readonly onDeadline: () => void,
  ) {}
}

const batch = new PacketBatch();

export function randomId(): ConnectionId {
  return readId(randomBytes(8), 0);
}

/** One socket, and what its connections have in common: a batch, the end of the turn, one armed timer. */
export abstract class Endpoint implements Link, DatagramHandler {
  readonly batch = batch;
  protected readonly loop: Loop;
  protected readonly socket: DatagramSocket;
  readonly #deadlines = new Deadlines<Timed>();
  #timer: Timer | undefined;
  #timerAt = Infinity;
  #scheduled: UdpConnection[] = [];
  readonly #flush = (): void => this.#onTurn();
  readonly #partings = new Map<UdpConnection, Parting>();
  readonly #referenced = new Set<object>();
  readonly #stayAtExit: () => void;
  protected closed = false;

  constructor(loop: Loop, socket: DatagramSocket) {
    this.loop = loop;
    this.socket = socket;
    socket.unref();
    socket.open(this);
    // Peers would otherwise learn of it only when they ask next.
    this.#stayAtExit = loop.atExit(() => {
      for (const connection of this.connections()) connection.destroy();
    });
  }

  /** Those that have not ended, and may be some that have. */
  protected abstract connections(): Iterable<UdpConnection>;

  now(): number {
    return this.loop.clock.now();
  }

  // For its connections

  send(memory: Uint8Array, end: number): void {
    if (!this.closed) this.socket.send(memory, end);
  }

  largestDatagram(route: Route): number {
    return this.closed ? 0 : this.socket.largestDatagram(route);
  }

  schedule(connection: UdpConnection): void {
    if (connection.scheduled) return;
    connection.scheduled = true;
    if (this.#scheduled.push(connection) === 1) this.loop.afterTurn(this.#flush);
  }

  #onTurn(): void {
    const scheduled = this.#scheduled;
    this.#scheduled = [];
    const now = this.now();
    for (const connection of scheduled) {
      connection.scheduled = false;
      connection.fill(now);
    }
    batch.send();
  }

  expectDeadline(due: Timed): void {
    this.#deadlines.expect(due);
    this.#arm();
  }

  #arm(): void {
    const { next } = this.#deadlines;
    if (next >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = next;
    this.#timer = this.loop.clock.setTimer(() => this.#onTimer(), Math.max(next - this.now(), 0));
    // The socket is what keeps the process alive, if anything shall.
    this.#timer.unref();
  }

  #onTimer(): void {
    this.#timerAt = Infinity;
    this.#timer = undefined;
    const now = this.now();
    for (let due = this.#deadlines.take(now); due !== undefined; due = this.#deadlines.take(now)) {
      due.onDeadline(now);
    }
    batch.send();
    if (!this.closed) this.#arm();
  }

  release(connection: UdpConnection, packet: Uint8Array, lingerMs: number): void {
    this.#deadlines.remove(connection);
    this.setRef(connection, false);
    this.post(connection.route, packet);
    const parting = new Parting(packet, this.now() + lingerMs, () => {
      this.#deadlines.remove(parting);
      this.#partings.delete(connection);
      this.forget(connection);
    });
    this.#partings.set(connection, parting);
    this.expectDeadline(parting);
  }

  /** A connection ended a while ago: its peer need not be answered any more. */
  protected abstract forget(connection: UdpConnection): void;

  /** A DATA packet came for `connection`. Whether it was its peer's. */
  protected deliver(
    connection: UdpConnection,
    memory: Uint8Array,
    start: number,
    end: number,
    now: number,
  ): boolean {
    const parting = this.#partings.get(connection);
    if (parting !== undefined && parting.answers-- > 0) this.post(connection.route, parting.packet);
    return connection.receive(memory, start, end, now);
  }

  setRef(holder: object, on: boolean): void {
    if (on) this.#referenced.add(holder);
    else this.#referenced.delete(holder);
    if (this.closed) return;
    if (this.#referenced.size > 0) this.socket.ref();
    else this.socket.unref();
  }

  /** Sends one packet now. */
  protected post(route: Route, packet: Uint8Array): void {
    batch.memory.set(packet, batch.begin(this, route, packet.length));
    batch.commit(packet.length, false);
    batch.send();
  }

  // For its socket

  onPackets(memory: Uint8Array, words: Int32Array, end: number): void {
    const now = this.now();
    for (let at = 0; at < end && !this.closed;) {
      const header = at >> 2;
      const start = at + RECORD_HEADER_BYTES;
      const last = start + words[header + LENGTH]!;
      const segment = words[header + SEGMENT]!;
      for (let packet = start; packet < last && !this.closed; packet += segment) {
        this.onPacket(memory, packet, Math.min(packet + segment, last), words, header + ADDRESS, now);
      }
      at += words[header + NEXT]!;
    }
  }

  /** `memory[start..end)` came from the address at `words[address]`. */
  protected abstract onPacket(
    memory: Uint8Array,
    start: number,
    end: number,
    words: Int32Array,
    address: number,
    now: number,
  ): void;
  abstract onRefused(words: Int32Array, at: number): void;
  abstract onError(error: Error): void;

  protected close(): void {
    this.closed = true;
    this.#stayAtExit();
    this.#timer?.cancel();
    this.socket.close();
  }
}
