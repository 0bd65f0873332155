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
}

/** `performance.now` and `setTimeout`. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(callback, delayMs) {
    const handle = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
};
