import { PACKET_BYTES } from "./packet.js";
import { MAX_ACK_DELAY_MS, type RoundTrip } from "./rtt.js";

const INITIAL_WINDOW = 10 * PACKET_BYTES;
/** RFC 9002, section 7.6.1: kPersistentCongestionThreshold. */
const PERSISTENT_CONGESTION_TIMEOUTS = 3;

/** How much faster than one window per round trip packets leave, so that a late timer does not cost throughput (section 7.7). */
const PACING_GAIN = 1.25;
/** Timers fire a little late; what should have left meanwhile leaves at once. On loopback this is more than any window. */
const BURST_MS = 2;
const LEAST_BURST = INITIAL_WINDOW;
/** Far below what a timer can tell, but a time that is later also by the clock's arithmetic. */
const LEAST_PAUSE_MS = 0.01;

/**
 * NewReno and pacing, after RFC 9002, section 7 and appendix B: how many bytes may be in flight, and when the next may leave.
 * Times are in milliseconds on one clock.
 */
export class Congestion {
  window = INITIAL_WINDOW;
  inFlight = 0;
  /** The longest packet (RFC 9002's max_datagram_size). */
  #packetBytes = PACKET_BYTES;
  #threshold = Infinity;
  /** When the present recovery began: packets sent before it tell nothing new. */
  #recoveryStart = -Infinity;
  /** Bytes acknowledged towards the next growth by one packet. */
  #credit = 0;

  /** What may leave at once, in bytes, as of #refilledAt. Below zero after a probe, which does not ask. */
  #tokens = LEAST_BURST;
  #refilledAt = 0;

  /** Packets may be `bytes` long from now on. */
  resize(bytes: number): void {
    this.#packetBytes = bytes;
    this.window = Math.max(this.window, this.#minimumWindow);
  }

  get #minimumWindow(): number {
    return 2 * this.#packetBytes;
  }

  onSent(bytes: number): void {
    this.inFlight += bytes;
    this.#tokens -= bytes;
  }

  /** A packet of `bytes`, sent at `sentAt`, arrived. `limited`: what was in flight had filled the window. */
  onAcked(bytes: number, sentAt: number, limited: boolean): void {
    this.inFlight -= bytes;
    if (sentAt <= this.#recoveryStart || !limited) return;
    if (this.window < this.#threshold) {
      this.window += bytes;
      return;
    }
    this.#credit += bytes;
    if (this.#credit < this.window) return;
    this.#credit -= this.window;
    this.window += this.#packetBytes;
  }

  /** A packet of `bytes`, sent at `sentAt`, is lost. */
  onLost(bytes: number, sentAt: number, now: number): void {
    this.inFlight -= bytes;
    if (sentAt <= this.#recoveryStart) return;
    this.#recoveryStart = now;
    this.window = Math.max(this.window / 2, this.#minimumWindow);
    this.#threshold = this.window;
    this.#credit = 0;
  }

  /** A probe of the path's MTU, of `bytes`, is lost: most likely it was too long (RFC 9000, section 14.4). */
  onProbeLost(bytes: number): void {
    this.inFlight -= bytes;
  }

  /** Everything that was sent for `duration` is lost: the window shrinks to its least if that was long (section 7.6). */
  onSilence(duration: number, rtt: RoundTrip): void {
    const limit = (rtt.probeTimeout + MAX_ACK_DELAY_MS) * PERSISTENT_CONGESTION_TIMEOUTS;
    if (duration < limit) return;
    this.window = this.#minimumWindow;
    this.#recoveryStart = -Infinity;
  }

  /** When a packet of `bytes` may leave: `now`, or later. Whether the window has room is another question. */
  releaseAt(bytes: number, now: number, rtt: RoundTrip): number {
    const rate = (PACING_GAIN * this.window) / rtt.smoothed;
    // Or else a packet that is longer would wait for ever.
    const burst = Math.max(LEAST_BURST, bytes, rate * BURST_MS);
    this.#tokens = Math.min(burst, this.#tokens + (now - this.#refilledAt) * rate);
    this.#refilledAt = now;
    return this.#tokens >= bytes ? now : now + Math.max((bytes - this.#tokens) / rate, LEAST_PAUSE_MS);
  }
}
