/** Time as the core sees it. Tests give a simulated clock; `systemClock` is the real one. */
export interface Clock {
  /** Milliseconds on a monotonic clock of any origin, with fractions. */
  now(): number;
  /** Call `callback` once, `delayMs` or a little more from now. */
  setTimer(callback: () => void, delayMs: number): Timer;
}

/** One pending timer. */
export interface Timer {
  /** Forget the timer. Harmless when it has fired. */
  cancel(): void;
  /** Whether the timer keeps the process alive while it is pending (it does until `unref`), where there is such a thing. */
  ref(): void;
  unref(): void;
}

/** The longest delay of `setTimeout`; longer ones would fire at once. */
export const MAX_DELAY_MS = 0x7fff_ffff;

// In Node the global `performance` is an accessor, which takes longer than to read the clock.
const { performance: platformPerformance, setTimeout: platformSetTimeout } = globalThis;

/** `performance.now` and `setTimeout`: those of the platform, or those that a test has put in their places since. */
export const systemClock: Clock = {
  now: () => (setTimeout === platformSetTimeout ? platformPerformance : performance).now(),
  setTimer(callback, delayMs) {
    const handle: unknown = setTimeout(callback, Math.min(delayMs, MAX_DELAY_MS));
    // A number in browsers, an object in Node.
    const { ref, unref } = handle as { ref?: () => void; unref?: () => void };
    return {
      cancel: () => clearTimeout(handle as number),
      ref: () => ref?.call(handle),
      unref: () => unref?.call(handle),
    };
  },
};
