import type { Clock, Timer } from "./clock.js";
import { throwUncaught } from "./emitter.js";

/** Something with a deadline. */
export interface Expiring {
  /** Called once, never before the deadline and, on a free event loop, at most 4 ms after. */
  onDeadline(): void;
}

/** When something expires: its entry in the wheel, which links it in by itself. */
export class Deadline {
  /** The wheel's own: the list that this is in, and its neighbours. Undefined while it is in none. */
  list: DeadlineList | undefined = undefined;
  next: Deadline | undefined = undefined;
  previous: Deadline | undefined = undefined;

  constructor(
    readonly target: Expiring,
    /** On the wheel's clock, in milliseconds. */
    public expireAt: number,
  ) {}
}

class DeadlineList {
  head: Deadline | undefined = undefined;
}

/** Resolution in milliseconds. With the 1 ms of the clock's own timers it keeps lateness under 4 ms. */
const TICK_MS = 2;
const SLOTS = 256;
const LEVELS = 4;

/**
 * A hierarchical timing wheel (Varghese and Lauck, 1987): adding and removing touch only a list's ends, and one timer of
 * the clock is armed however many deadlines there are. Four levels of 256 slots of 2 ms reach 99 days; what lies beyond
 * waits in the last slot and is sorted in again from there.
 */
export class TimerWheel {
  readonly #clock: Clock;
  readonly #origin: number;
  readonly #levels: DeadlineList[][] = [];
  /** The first tick that has not been run. */
  #tick = 0;
  #armed: Timer | undefined = undefined;
  #armedTick = Infinity;
  /** Entries in the wheel: while there is none, what is armed does not keep the process alive. */
  #count = 0;
  #running = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#origin = clock.now();
    for (let level = 0; level < LEVELS; level++) {
      this.#levels.push(Array.from({ length: SLOTS }, () => new DeadlineList()));
    }
  }

  /**
   * Call `target.onDeadline` at `expireAt`, unless what this returns is removed before. `entry`, if given, is used for it: one of
   * the same target that is in no wheel.
   */
  add(target: Expiring, expireAt: number, entry = new Deadline(target, expireAt)): Deadline {
    entry.expireAt = expireAt;
    if (this.#count++ === 0) this.#armed?.ref();
    // While nothing is armed the wheel is empty and stands still: let it catch up.
    if (this.#armed === undefined && !this.#running) {
      this.#tick = Math.max(this.#tick, this.#tickOf(this.#clock.now()));
    }
    const tick = this.#place(entry);
    if (tick < this.#armedTick && !this.#running) this.#arm(tick);
    return entry;
  }

  /** Forget `entry`; harmless when it is not in the wheel any more. */
  remove(entry: Deadline): void {
    const list = entry.list;
    if (list === undefined) return;
    if (--this.#count === 0) this.#armed?.unref();
    if (entry.previous === undefined) list.head = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next !== undefined) entry.next.previous = entry.previous;
    entry.list = entry.next = entry.previous = undefined;
  }

  #tickOf(time: number): number {
    return Math.floor((time - this.#origin) / TICK_MS);
  }

  /** Put `entry` into the slot of the first tick at which it may run. Returns the tick at which that slot is due. */
  #place(entry: Deadline): number {
    // The end of the tick that the deadline lies in: never early.
    const tick = Math.max(this.#tick, Math.ceil((entry.expireAt - this.#origin) / TICK_MS));
    let level = 0;
    let span = SLOTS;
    while (tick - this.#tick >= span && level < LEVELS - 1) {
      level++;
      span *= SLOTS;
    }
    const width = span / SLOTS;
    const due = Math.floor(Math.min(tick, this.#tick + span - width) / width);
    const list = this.#levels[level]![due % SLOTS]!;
    entry.list = list;
    entry.next = list.head;
    entry.previous = undefined;
    if (list.head !== undefined) list.head.previous = entry;
    list.head = entry;
    return due * width;
  }

  #arm(tick: number): void {
    this.#armed?.cancel();
    this.#armedTick = tick;
    const delay = Math.max(0, this.#origin + tick * TICK_MS - this.#clock.now());
    this.#armed = this.#clock.setTimer(() => this.#run(), delay);
  }

  #run(): void {
    this.#armed = undefined;
    this.#armedTick = Infinity;
    this.#running = true;
    const now = this.#tickOf(this.#clock.now());
    while (this.#tick <= now) {
      const tick = this.#tick;
      // Sort the slots of higher levels that begin here into the lower ones.
      for (let level = LEVELS - 1, width = SLOTS ** (LEVELS - 1); level > 0; level--, width /= SLOTS) {
        if (tick % width === 0) this.#empty(this.#levels[level]![(tick / width) % SLOTS]!, tick);
      }
      this.#tick = tick + 1; // what `onDeadline` adds belongs to the next tick
      this.#empty(this.#levels[0]![tick % SLOTS]!, tick);
      this.#tick = Math.max(this.#tick, Math.min(this.#nextDue(), now + 1));
    }
    this.#running = false;
    const next = this.#nextDue();
    if (next !== Infinity) this.#arm(next);
  }

  #empty(list: DeadlineList, tick: number): void {
    // What is placed again, or added by `onDeadline`, goes to other slots: the list is taken whole first.
    let entry = list.head;
    list.head = undefined;
    const taken: Deadline[] = [];
    for (; entry !== undefined; entry = entry.next) taken.push(entry);
    for (const one of taken) {
      one.list = TAKEN;
      one.next = one.previous = undefined;
    }
    for (const one of taken) {
      if (one.list !== TAKEN) continue; // removed by an earlier one's `onDeadline`
      one.list = undefined;
      if (this.#origin + tick * TICK_MS < one.expireAt) this.#place(one);
      else {
        this.#count--;
        try {
          one.target.onDeadline();
        } catch (error) {
          // The others' deadlines have passed, too.
          throwUncaught(error);
        }
      }
    }
  }

  /** The first tick at or after the current one at which a slot with entries is due; Infinity if there is none. */
  #nextDue(): number {
    let first = Infinity;
    for (let level = 0, width = 1; level < LEVELS; level++, width *= SLOTS) {
      const slots = this.#levels[level]!;
      const begin = Math.ceil(this.#tick / width);
      for (let i = 0; i < SLOTS; i++) {
        const due = (begin + i) * width;
        if (due >= first) break;
        if (slots[(begin + i) % SLOTS]!.head !== undefined) first = due;
      }
    }
    return first;
  }
}

/** Where entries are listed while their slot is being emptied. `remove` takes them out of it. */
const TAKEN = new DeadlineList();
