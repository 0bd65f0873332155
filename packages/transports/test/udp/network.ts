import type { Clock, Timer } from "@sluice/core";
import type { Random } from "@sluice/transport-contract";
import type { Loop } from "#transports/udp/endpoint.js";
import { routeTo } from "#transports/udp/route.js";
import {
  ADDRESS,
  LENGTH,
  NEXT,
  RECORD_HEADER_BYTES,
  ROUTE_WORDS,
  SEGMENT,
  type DatagramHandler,
  type DatagramSocket,
  type Route,
} from "#transports/udp/socket.js";

/** How packets fare one way. Times are in milliseconds. */
export interface Path {
  delayMs: number;
  /** Added to it at random, up to this: packets overtake each other. */
  jitterMs: number;
  loss: number;
  duplication: number;
  /** Bytes per millisecond; and how many wait at most for their turn. */
  bandwidth: number;
  queueBytes: number;
  /** From when to when nothing passes. */
  downFrom: number;
  downTo: number;
  /** The longest packet that passes; and the longest that the sender's own interface takes, as far as its host knows: 0 if it does not. */
  mtu: number;
  interfaceMtu: number;
}

export const PERFECT: Readonly<Path> = Object.freeze({
  delayMs: 0,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  bandwidth: Infinity,
  queueBytes: Infinity,
  downFrom: Infinity,
  downTo: Infinity,
  mtu: Infinity,
  interfaceMtu: 0,
});

interface Event {
  readonly at: number;
  readonly order: number;
  /** Undefined once cancelled. */
  run: (() => void) | undefined;
}

/** Time and packets, as a seed says. Nothing here waits, and the same seed gives the same run. */
export class SimulatedNetwork implements Loop {
  readonly clock: Clock = {
    now: () => this.#now,
    setTimer: (callback, delayMs) => this.#setTimer(callback, delayMs),
  };
  readonly #random: Random;
  #now = 0;
  #order = 0;
  /** A binary heap. */
  readonly #events: Event[] = [];
  readonly #sockets = new Map<string, SimulatedSocket>();
  /** Packets that entered the network. */
  packets = 0;
  /** Sees every packet that a socket sends. */
  onPacket: ((from: SimulatedSocket, packet: Uint8Array) => void) | undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  get now(): number {
    return this.#now;
  }

  /** A socket at `ip` and `port`, whose packets take `path`; connected to `peer` if there is one. */
  socket(ip: string, port: number, path: Path, peer?: SimulatedSocket): SimulatedSocket {
    const socket = new SimulatedSocket(this, routeTo(ip, port), port, path, peer);
    this.#sockets.set(socket.key, socket);
    return socket;
  }

  remove(socket: SimulatedSocket): void {
    this.#sockets.delete(socket.key);
  }

  afterTurn(callback: () => void): void {
    this.at(this.#now, callback);
  }

  /** No thread ends here. */
  atExit(): () => void {
    return () => {};
  }

  #setTimer(callback: () => void, delayMs: number): Timer {
    // As Node's own, no finer than a millisecond.
    const event = this.at(this.#now + Math.max(1, Math.ceil(delayMs)), callback);
    return { cancel: () => (event.run = undefined), ref: () => {}, unref: () => {} };
  }

  at(time: number, run: () => void): Event {
    const event = { at: time, order: this.#order++, run };
    const heap = this.#events;
    let index = heap.push(event) - 1;
    while (index > 0 && isBefore(event, heap[(index - 1) >> 1]!)) {
      heap[index] = heap[(index - 1) >> 1]!;
      index = (index - 1) >> 1;
    }
    heap[index] = event;
    return event;
  }

  /** Lets everything happen up to `time`, or until `done`. */
  async run(time: number, done: () => boolean = () => false): Promise<void> {
    while (!done()) {
      const next = this.#events[0];
      if (next === undefined || next.at > time) {
        this.#now = Math.max(this.#now, time);
        break;
      }
      this.#pop();
      this.#now = Math.max(this.#now, next.at);
      next.run?.();
      // For what connections leave to microtasks.
      await Promise.resolve();
    }
    await Promise.resolve();
  }

  #pop(): void {
    const heap = this.#events;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
  }

  /** Takes a packet, of which it keeps a copy. */
  transmit(from: SimulatedSocket, to: string, packet: Uint8Array): void {
    this.packets++;
    this.onPacket?.(from, packet);
    const { path } = from;
    const random = this.#random;
    if (this.#now >= path.downFrom && this.#now < path.downTo) return;
    if (packet.length > path.mtu) return;
    if (random.fraction() < path.loss) return;
    let leaves = this.#now;
    if (path.bandwidth !== Infinity) {
      const queued = Math.max(from.busyUntil - this.#now, 0) * path.bandwidth;
      if (queued + packet.length > path.queueBytes) return;
      from.busyUntil = leaves = Math.max(from.busyUntil, this.#now) + packet.length / path.bandwidth;
    }
    const copy = packet.slice();
    const copies = random.fraction() < path.duplication ? 2 : 1;
    for (let count = 0; count < copies; count++) {
      const arrives = leaves + path.delayMs + random.fraction() * path.jitterMs;
      this.at(arrives, () => this.#sockets.get(to)?.receive(copy, from.route));
    }
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}

const arriving = new Uint8Array(RECORD_HEADER_BYTES + 65_536);
const arrivingWords = new Int32Array(arriving.buffer);

export class SimulatedSocket implements DatagramSocket {
  readonly heldBytes = Infinity;
  readonly #network: SimulatedNetwork;
  readonly route: Route;
  readonly key: string;
  readonly port: number;
  readonly path: Path;
  readonly #peer: SimulatedSocket | undefined;
  #handler: DatagramHandler | undefined;
  /** When what it has sent has left. */
  busyUntil = 0;

  constructor(
    network: SimulatedNetwork,
    route: Route,
    port: number,
    path: Path,
    peer: SimulatedSocket | undefined,
  ) {
    this.#network = network;
    this.route = route;
    this.key = route.join();
    this.port = port;
    this.path = path;
    this.#peer = peer;
  }

  largestDatagram(): number {
    return this.path.interfaceMtu;
  }

  open(handler: DatagramHandler): void {
    this.#handler = handler;
  }

  send(memory: Uint8Array, end: number): void {
    const words = new Int32Array(memory.buffer, memory.byteOffset, memory.length >> 2);
    for (let at = 0; at < end;) {
      const header = at >> 2;
      const start = at + RECORD_HEADER_BYTES;
      const last = start + words[header + LENGTH]!;
      const to = this.#peer?.key ?? words.subarray(header + ADDRESS, header + ADDRESS + ROUTE_WORDS).join();
      for (let packet = start; packet < last; packet += words[header + SEGMENT]!) {
        const packetEnd = Math.min(packet + words[header + SEGMENT]!, last);
        this.#network.transmit(this, to, memory.subarray(packet, packetEnd));
      }
      at += words[header + NEXT]!;
    }
  }

  receive(packet: Uint8Array, from: Route): void {
    arrivingWords[LENGTH] = arrivingWords[SEGMENT] = packet.length;
    arrivingWords[NEXT] = RECORD_HEADER_BYTES + packet.length;
    arrivingWords.set(from, ADDRESS);
    arriving.set(packet, RECORD_HEADER_BYTES);
    this.#handler?.onPackets(arriving, arrivingWords, RECORD_HEADER_BYTES + packet.length);
  }

  close(): void {
    this.#handler = undefined;
    this.#network.remove(this);
  }

  ref(): void {}
  unref(): void {}
}
