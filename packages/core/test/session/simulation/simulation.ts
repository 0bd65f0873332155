import { SimulatedClock } from "./clock.js";
import { linkPair, type LinkOptions, type SimulatedConnection } from "./link.js";
import { Random } from "./random.js";

/** A turn of the event loop: everything that waits on promises has run when this resolves. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * A world in which nothing happens by itself: links carry frames, tasks go on and time passes one random event after
 * the other, all of it determined by the seed.
 */
export class Simulation {
  readonly random: Random;
  readonly clock = new SimulatedClock();
  readonly #connections: SimulatedConnection[] = [];
  #paused: (() => void)[] = [];

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** A link whose two ends deliver when the simulation says. */
  link(options: LinkOptions = {}): [SimulatedConnection, SimulatedConnection] {
    const ends = linkPair(this.random, options);
    this.#connections.push(...ends);
    return ends;
  }

  /** Resolves at some later event: what a user's code does between two steps of its own. */
  pause(): Promise<void> {
    return new Promise((resolve) => this.#paused.push(resolve));
  }

  /** Resolves when `ms` of simulated time have passed. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(resolve, ms));
  }

  /** Run one random event. Returns false if only time could pass, and did not. */
  step(): boolean {
    const { random } = this;
    const events: (() => void)[] = [];
    for (const connection of this.#connections) {
      const { deliverable } = connection;
      if (deliverable > 0) {
        const frames = random.chance(0.5) ? 1 : random.integer(1, deliverable);
        events.push(() => connection.deliver(frames));
      }
      if (connection.writable) events.push(() => connection.tellWritable());
      if (connection.closable) events.push(() => connection.tellClosed());
    }
    if (this.#paused.length > 0) {
      const at = random.integer(0, this.#paused.length - 1);
      events.push(() => this.#paused.splice(at, 1)[0]());
    }
    if (events.length === 0) return false;
    random.pick(events)();
    return true;
  }

  /**
   * Run until nothing can happen any more, letting time pass only when nothing else can, `maxMs` at most. Rejects if it
   * takes more than `maxSteps` events.
   */
  async run(maxMs = Infinity, maxSteps = 1_000_000): Promise<void> {
    const end = this.clock.now() + maxMs;
    for (let steps = 0; ; steps++) {
      await settled();
      if (steps > maxSteps) throw new Error(`the simulation goes on after ${maxSteps} events`);
      if (this.step()) continue;
      const next = this.clock.nextDue;
      if (next === undefined || next > end) break;
      this.clock.advanceTo(next);
    }
    if (end !== Infinity) this.clock.advanceTo(end);
  }

  /** Run until `done`, or until nothing can happen any more. */
  async runUntil(done: () => boolean): Promise<void> {
    for (;;) {
      await settled();
      if (done()) return;
      if (this.step()) continue;
      const next = this.clock.nextDue;
      if (next === undefined) return;
      this.clock.advanceTo(next);
    }
  }
}
