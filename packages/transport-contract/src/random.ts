/** A seeded generator of numbers, so that a failure can be repeated (xorshift32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  /** An integer from 0 up to, not including, `limit`. */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % limit;
  }

  /** From 0 up to, not including, 1. */
  fraction(): number {
    return this.below(2 ** 31) / 2 ** 31;
  }
}

/** The seed in the environment variable `TRANSPORT_SEED`, else a new one. */
export function chooseSeed(): number {
  const given = process.env["TRANSPORT_SEED"];
  return given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
}
