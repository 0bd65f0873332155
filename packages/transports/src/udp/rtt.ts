/** The longest that an acknowledgement is held back on purpose, in milliseconds: long enough for an answer to take it along. */
export const MAX_ACK_DELAY_MS = 10;

/** What timers of the event loop can tell apart, in milliseconds (RFC 9002, section 6.1.2: kGranularity). */
export const GRANULARITY_MS = 1;

/** Before the first sample, in milliseconds. */
const INITIAL_RTT_MS = 100;

/** The round trip's time, after RFC 9002, section 5. All in milliseconds. */
export class RoundTrip {
  latest = 0;
  min = Infinity;
  smoothed = INITIAL_RTT_MS;
  variation = INITIAL_RTT_MS / 2;

  /** A packet was acknowledged `sample` after it was sent; its receiver says that it held the acknowledgement for `ackDelay`. */
  update(sample: number, ackDelay: number): void {
    this.latest = sample;
    if (this.min === Infinity) {
      this.min = this.smoothed = sample;
      this.variation = sample / 2;
      return;
    }
    this.min = Math.min(this.min, sample);
    const delay = Math.min(ackDelay, MAX_ACK_DELAY_MS);
    const adjusted = sample >= this.min + delay ? sample - delay : sample;
    this.variation = 0.75 * this.variation + 0.25 * Math.abs(this.smoothed - adjusted);
    this.smoothed = 0.875 * this.smoothed + 0.125 * adjusted;
  }

  /** How long to wait for an acknowledgement before asking for one (section 6.2.1). */
  get probeTimeout(): number {
    return this.smoothed + Math.max(4 * this.variation, GRANULARITY_MS) + MAX_ACK_DELAY_MS;
  }

  /** How long after a later packet's acknowledgement an earlier packet counts as lost (section 6.1.2). */
  get lossDelay(): number {
    return Math.max((9 / 8) * Math.max(this.smoothed, this.latest), GRANULARITY_MS);
  }
}
