import { writeU16 } from "@sluice/core/bytes";
import { RangeSet } from "./range-set.js";
import { writeU48 } from "./packet.js";

/**
 * Ranges of numbers that are remembered. What is older than the oldest is taken for received: this is the replay window too,
 * as in RFC 4303, section 3.4.3, with as many ranges instead of bits.
 */
const MAX_REMEMBERED = 64;
/** Ranges that one acknowledgement names: it says most of them again in the next, should it be lost. */
const MAX_NAMED = 16;

/** The packets that have arrived, by their numbers: to take each once, and to acknowledge them (RFC 9000, section 13.2). */
export class ReceivedPackets {
  readonly #numbers = new RangeSet();
  #floor = 0;
  #largestAt = 0;
  #largest = -1;

  /** Whether any has arrived: without, there is nothing to acknowledge. */
  get any(): boolean {
    return this.#largest >= 0;
  }

  isNew(number: number): boolean {
    return number > this.#largest || (number >= this.#floor && !this.#numbers.has(number));
  }

  /** Whether it came in order: with the number after the largest before. */
  add(number: number, now: number): boolean {
    this.#numbers.add(number, number + 1);
    if (this.#numbers.count > MAX_REMEMBERED) {
      this.#floor = this.#numbers.end(0);
      this.#numbers.shift();
    }
    const inOrder = number === this.#largest + 1;
    if (number > this.#largest) {
      this.#largest = number;
      this.#largestAt = now;
    }
    return inOrder;
  }

  /** How many bytes `write` will write. */
  get ackBytes(): number {
    return 16 + 4 * Math.min(this.#numbers.count - 1, MAX_NAMED - 1) + 2;
  }

  /**
   * An ACK chunk behind its type: the largest number, for how many microseconds it was held (in units of 8), up to where the
   * stream may be sent, how many ranges follow the first, the first one's length less one; then for each the numbers missing
   * above it and its length.
   */
  write(bytes: Uint8Array, at: number, now: number, limit: number): number {
    const numbers = this.#numbers;
    let index = numbers.count - 1;
    at = writeU48(bytes, at, this.#largest);
    at = writeU16(bytes, at, Math.min(((now - this.#largestAt) * 1000) / 8, 0xffff));
    at = writeU48(bytes, at, limit);
    const rangesAt = at++;
    at = writeU16(bytes, at, Math.min(numbers.end(index) - numbers.start(index) - 1, 0xffff));
    let named = 0;
    for (; index > 0 && named < MAX_NAMED - 1; index--, named++) {
      const above = numbers.start(index);
      const gap = above - numbers.end(index - 1);
      const length = numbers.end(index - 1) - numbers.start(index - 1);
      // A range so long, or so far away, has been acknowledged before, or given up.
      if (gap > 0xffff || numbers.end(index) - above > 0xffff) break;
      at = writeU16(bytes, at, gap);
      at = writeU16(bytes, at, Math.min(length, 0xffff));
    }
    bytes[rangesAt] = named;
    return at;
  }
}
