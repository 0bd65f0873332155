import { PACKET_BYTES } from "./packet.js";

/**
 * The longest packets, which only loopback carries: four of them are what the kernel passes on in one piece (packet-batch.ts). A socket's
 * memory counts for such a one, alone, a twelfth more than its length, and nearly twice that for one of 9,000 bytes. Longer ones cost no
 * less that could be measured without a secret.
 */
export const LARGEST_PACKET_BYTES = 16_320;

/** Probes of one length that are lost before it counts as too long (RFC 8899, section 5.1.2: MAX_PROBES). */
const MAX_PROBES = 3;
/** After how long a path is searched again that may carry longer packets by then (the same: PMTU_RAISE_TIMER). */
const RAISE_MS = 600_000;
/** What Ethernet leaves of its MTU, without and with what IPv6 or PPPoE takes. */
const LIKELY_BYTES = [1472, 1452];
/** The search ends when there is less to be gained than this. */
const LEAST_GAIN = 1 / 32;
/** Times in a row that longer packets are lost, and none arrives, before the path counts as one that carries none. */
const BLACK_HOLE_LOSSES = 3;

/**
 * How long packets may be on one path (RFC 8899): every path carries PACKET_BYTES; longer ones are tried by probes, one at a time, and
 * counted on once a probe was acknowledged. Times are in milliseconds on one clock.
 */
export class PathMtu {
  /** How long packets may be. */
  packetBytes = PACKET_BYTES;
  readonly #ceiling: () => number;
  /** The probe to be sent, or under way; 0 between searches. */
  #probeBytes = 0;
  #underWay = false;
  #probesLost = 0;
  /** The shortest length that this search takes for too long. */
  #tooLong = Infinity;
  /** When the next search may begin. */
  #searchAt = -Infinity;

  /** Losses of longer packets since one of such a length arrived, the shortest of them, and when the last was noticed. */
  #losses = 0;
  #shortestLost = Infinity;
  #lostAt = -Infinity;

  /** `ceiling` says how long datagrams may be that this host sends in one piece; it is asked when a search begins. */
  constructor(ceiling: () => number) {
    this.#ceiling = ceiling;
  }

  /** How long the probe is that is to be sent now; 0 for none. */
  probe(now: number): number {
    if (this.#underWay) return 0;
    if (this.#probeBytes === 0 && now >= this.#searchAt) this.#search(now, Infinity);
    return this.#probeBytes;
  }

  onProbeSent(): void {
    this.#underWay = true;
  }

  /** The probe of `bytes` arrived. */
  onProbeAcked(bytes: number, now: number): void {
    // One from before a black hole says nothing of the path as it is.
    if (bytes !== this.#probeBytes) return;
    this.packetBytes = bytes;
    this.#next(now);
  }

  /** The probe of `bytes` is lost. */
  onProbeLost(bytes: number, now: number): void {
    if (bytes !== this.#probeBytes) return;
    this.#underWay = false;
    if (++this.#probesLost < MAX_PROBES) return;
    this.#tooLong = bytes;
    this.#next(now);
  }

  /** Another packet, of `bytes`, arrived. */
  onAcked(bytes: number): void {
    if (bytes < this.#shortestLost) return;
    this.#losses = 0;
    this.#shortestLost = Infinity;
  }

  /** Another packet, of `bytes`, sent at `sentAt`, is lost. Packets are short again when that shows that the path carries no others. */
  onLost(bytes: number, sentAt: number, now: number): void {
    if (bytes <= PACKET_BYTES) return;
    this.#shortestLost = Math.min(this.#shortestLost, bytes);
    // Lost together with the last that were: congestion does that.
    if (sentAt <= this.#lostAt) return;
    this.#lostAt = now;
    if (++this.#losses < BLACK_HOLE_LOSSES) return;
    const tooLong = this.#shortestLost;
    this.#losses = 0;
    this.#shortestLost = Infinity;
    this.packetBytes = PACKET_BYTES;
    this.#search(now, tooLong);
  }

  /** Begins a search for lengths below `tooLong`. */
  #search(now: number, tooLong: number): void {
    const ceiling = Math.min(this.#ceiling(), LARGEST_PACKET_BYTES);
    this.#tooLong = Math.min(tooLong, ceiling + 1);
    this.#next(now);
    // What this host's interface takes is what most paths within a network carry.
    if (this.#probeBytes > 0 && ceiling < tooLong) this.#probeBytes = ceiling;
  }

  #next(now: number): void {
    this.#underWay = false;
    this.#probesLost = 0;
    const { packetBytes } = this;
    const tooLong = this.#tooLong;
    if (tooLong - 1 - packetBytes < packetBytes * LEAST_GAIN) {
      this.#probeBytes = 0;
      this.#searchAt = now + RAISE_MS;
    } else {
      const likely = LIKELY_BYTES.find((bytes) => bytes > packetBytes && bytes < tooLong);
      this.#probeBytes = likely ?? Math.floor((packetBytes + tooLong) / 2);
    }
  }
}
