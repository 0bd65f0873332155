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
  /** Let the process end although the timer is pending, where the platform knows such a thing. */
  unref(): void;
}

/** The longest delay of `setTimeout`; longer ones would fire at once. */
const MAX_DELAY_MS = 0x7fff_ffff;

/** `performance.now` and `setTimeout`. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(callback, delayMs) {
    const handle: unknown = setTimeout(callback, Math.min(delayMs, MAX_DELAY_MS));
    return {
      cancel: () => clearTimeout(handle as number),
      unref: () => (handle as { unref?: () => void }).unref?.(),
    };
  },
};
