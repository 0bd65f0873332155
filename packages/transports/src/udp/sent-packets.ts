import type { Congestion } from "./congestion.js";
import type { RoundTrip } from "./rtt.js";

/** RFC 9002, section 6.1.1: kPacketThreshold. */
const REORDERING_PACKETS = 3;

/** A packet that asks for an acknowledgement. */
export interface SentPacket {
  number: number;
  sentAt: number;
  bytes: number;
  /** The bytes of the stream in it: none when they are equal. */
  start: number;
  end: number;
  /** Whether it says where the stream ends. */
  last: boolean;
  /** Whether it only asks whether the path carries its length: nothing is to be sent again, and its loss is no sign of congestion. */
  probe: boolean;
  /** Acknowledged, or lost: of no further interest. */
  settled: boolean;
}

/** Whom the packets' fate concerns. */
export interface SentPacketsHandler {
  onAcked(packet: SentPacket, now: number): void;
  onLost(packet: SentPacket, now: number): void;
}

/**
 * The packets that are under way, in the order in which they were sent: which were acknowledged, and which are lost
 * (RFC 9002, section 6).
 */
export class SentPackets {
  readonly #congestion: Congestion;
  readonly #rtt: RoundTrip;
  readonly #handler: SentPacketsHandler;
  /** A queue: `#first` is its head, and what is before it is free to be used again. */
  #packets: SentPacket[] = [];
  #first = 0;
  readonly #free: SentPacket[] = [];
  /** Those that are not settled, without probes. */
  #count = 0;
  #largestAcked = -1;
  /** When the oldest packet under way is lost because a later one arrived; Infinity if none is. */
  lossAt = Infinity;
  /** When the last packet left that was no probe. */
  lastSentAt = 0;

  constructor(congestion: Congestion, rtt: RoundTrip, handler: SentPacketsHandler) {
    this.#congestion = congestion;
    this.#rtt = rtt;
    this.#handler = handler;
  }

  /** Whether any packet is under way but a probe, for whose acknowledgement nobody waits. */
  get any(): boolean {
    return this.#count > 0;
  }

  /** The oldest that is under way and no probe. There must be one. */
  get oldest(): SentPacket {
    let index = this.#first;
    while (this.#packets[index]!.settled || this.#packets[index]!.probe) index++;
    return this.#packets[index]!;
  }

  add(number: number, bytes: number, start: number, end: number, last: boolean, now: number): void {
    this.#add(number, bytes, now, false, start, end, last);
    this.#count++;
    this.lastSentAt = now;
  }

  /** A probe of the path's MTU. */
  addProbe(number: number, bytes: number, now: number): void {
    this.#add(number, bytes, now, true, 0, 0, false);
  }

  #add(
    number: number,
    bytes: number,
    now: number,
    probe: boolean,
    start: number,
    end: number,
    last: boolean,
  ): void {
    const packet = this.#free.pop() ?? {
      number: 0,
      sentAt: 0,
      bytes: 0,
      start: 0,
      end: 0,
      last: false,
      probe: false,
      settled: false,
    };
    packet.number = number;
    packet.sentAt = now;
    packet.bytes = bytes;
    packet.start = start;
    packet.end = end;
    packet.last = last;
    packet.probe = probe;
    packet.settled = false;
    this.#packets.push(packet);
    this.#congestion.onSent(bytes);
  }

  /**
   * The peer has received the numbers in `ranges`: pairs of the first and the one after the last, descending. `ackDelay` is how long it
   * held the acknowledgement, in milliseconds. Whether that was news.
   */
  acknowledge(ranges: readonly number[], count: number, ackDelay: number, now: number): boolean {
    const largest = ranges[1]! - 1;
    const limited = this.#congestion.inFlight * 2 >= this.#congestion.window;
    let news = false;
    let pair = count - 2;
    const packets = this.#packets;
    for (let index = this.#first; index < packets.length; index++) {
      const packet = packets[index]!;
      if (packet.number > largest) break;
      while (pair > 0 && ranges[pair + 1]! <= packet.number) pair -= 2;
      if (packet.settled || packet.number < ranges[pair]! || packet.number >= ranges[pair + 1]!) continue;
      if (packet.number === largest && largest > this.#largestAcked) {
        this.#rtt.update(Math.max(now - packet.sentAt, 0), ackDelay);
      }
      news = true;
      packet.settled = true;
      if (!packet.probe) this.#count--;
      this.#congestion.onAcked(packet.bytes, packet.sentAt, limited);
      this.#handler.onAcked(packet, now);
    }
    this.#largestAcked = Math.max(this.#largestAcked, largest);
    this.detectLoss(now);
    return news;
  }

  /** Declares lost what was overtaken by too many packets, or for too long. */
  detectLoss(now: number): void {
    const { lossDelay } = this.#rtt;
    const packets = this.#packets;
    let firstLost = -1;
    let lastLost = -Infinity;
    this.lossAt = Infinity;
    for (let index = this.#first; index < packets.length; index++) {
      const packet = packets[index]!;
      if (packet.number > this.#largestAcked) break;
      if (packet.settled) {
        // Of two losses with an arrival in between, the silence did not last.
        firstLost = -1;
        continue;
      }
      // The very sum that says when it is lost: `lossAt` would be due for ever if another rounding made the packet younger.
      const lossAt = packet.sentAt + lossDelay;
      if (lossAt > now && packet.number + REORDERING_PACKETS > this.#largestAcked) {
        this.lossAt = lossAt;
        break;
      }
      packet.settled = true;
      if (packet.probe) {
        this.#congestion.onProbeLost(packet.bytes);
      } else {
        this.#count--;
        if (firstLost < 0) firstLost = packet.sentAt;
        lastLost = packet.sentAt;
        this.#congestion.onLost(packet.bytes, packet.sentAt, now);
      }
      this.#handler.onLost(packet, now);
    }
    if (firstLost >= 0 && lastLost > firstLost) this.#congestion.onSilence(lastLost - firstLost, this.#rtt);
    this.#dropSettled();
  }

  #dropSettled(): void {
    const packets = this.#packets;
    while (this.#first < packets.length && packets[this.#first]!.settled) {
      this.#free.push(packets[this.#first]!);
      this.#first++;
    }
    if (this.#first === packets.length) {
      packets.length = this.#first = 0;
      // A few for small traffic; those of a bulk transfer are not kept.
      if (this.#free.length > 64) this.#free.length = 64;
    } else if (this.#first > 1024) {
      packets.splice(0, this.#first);
      this.#first = 0;
    }
  }
}
