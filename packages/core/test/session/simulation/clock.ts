import type { Clock, Timer } from "@sluice/core";

interface PendingTimer {
  readonly due: number;
  readonly callback: () => void;
}

/** Time that passes only when a test says so. Timers that are due together run in the order in which they were set. */
export class SimulatedClock implements Clock {
  #now: number;
  readonly #timers = new Set<PendingTimer>();
  /** Timers set so far. */
  set = 0;

  constructor(origin = 1_000_000.25) {
    this.#now = origin;
  }

  now(): number {
    return this.#now;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    this.set++;
    const timer = { due: this.#now + Math.max(0, delayMs), callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer), ref: () => {}, unref: () => {} };
  }

  /** Timers that have neither run nor been cancelled. */
  get pending(): number {
    return this.#timers.size;
  }

  /** When the next timer is due; undefined if there is none. */
  get nextDue(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : Math.max(next.due, this.#now);
  }

  /** Let time pass up to `time`, running what becomes due on the way. */
  advanceTo(time: number): void {
    for (let next = this.#next(); next !== undefined && next.due <= time; next = this.#next()) {
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.due);
      next.callback();
    }
    this.#now = Math.max(this.#now, time);
  }

  advance(ms: number): void {
    this.advanceTo(this.#now + ms);
  }

  /** Let time pass and run nothing: what became due is late. */
  jump(ms: number): void {
    this.#now += ms;
  }

  #next(): PendingTimer | undefined {
    let first: PendingTimer | undefined = undefined;
    for (const timer of this.#timers) {
      if (first === undefined || timer.due < first.due) first = timer;
    }
    return first;
  }
}
