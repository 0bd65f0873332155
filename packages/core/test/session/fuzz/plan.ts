import type { Random } from "../simulation/random.js";

export type Kind = "unary" | "serverStream" | "clientStream" | "bidi";

/** What one call is going to do, decided in advance. Sizes are of messages' data, in bytes. */
export interface Plan {
  readonly number: number;
  readonly kind: Kind;
  /** Which end makes it. */
  readonly caller: 0 | 1;
  /** The call whose handler makes this one, with `parent: context`. */
  readonly parent: number | undefined;
  readonly requests: readonly number[];
  readonly responses: readonly number[];
  /** How the requests are given, where there may be many. */
  readonly source: "generator" | "array" | "observable";
  /** The source of requests throws instead of giving the one of this index. */
  readonly sourceFailsAt: number | undefined;
  /** How likely each side is to let others go first before each step of its own. */
  readonly callerPause: number;
  readonly handlerPause: number;
  readonly timeoutMs: number | undefined;
  /** The caller cancels after this many pauses. */
  readonly cancelAfter: number | undefined;
  /** The caller stops iterating responses after this many. */
  readonly breakAfter: number | undefined;
  /** The handler reads this many requests and no more. */
  readonly readsOnly: number | undefined;
  /** The handler first reads all requests, then responds; else it does both at once. */
  readonly readsFirst: boolean;
  readonly ending: "return" | "throw" | "stall";
  readonly sendsHeader: "early" | "with first message" | "never";
  readonly metadataBytes: number;
  /** While the message of this index is being encoded, a getter of it makes this call. */
  readonly encodesCall: Plan | undefined;
  /** While the last request is being encoded, a getter of it cancels the call. */
  readonly cancelsInEncoding: boolean;
  /** The handler makes this call back to the caller. */
  readonly callsBack: Plan | undefined;
}

export interface PlanLimits {
  readonly maxMessageBytes: number;
  /** Without deadlines, cancellation and stalled handlers nothing but the protocol can make a call end. */
  readonly calm: boolean;
}

/** Plans calls, numbered from 1. */
export class Planner {
  readonly #random: Random;
  readonly #limits: PlanLimits;
  count = 0;

  constructor(random: Random, limits: PlanLimits) {
    this.#random = random;
    this.#limits = limits;
  }

  call(caller: 0 | 1, depth = 0, parent?: number): Plan {
    const random = this.#random;
    const { calm } = this.#limits;
    const number = ++this.count;
    const kind = random.pick(["unary", "unary", "serverStream", "clientStream", "bidi"] as const);
    const requests = kind === "clientStream" || kind === "bidi" ? this.#sizes() : [this.#size()];
    const rarely = <T>(probability: number, value: () => T): T | undefined =>
      random.chance(probability) ? value() : undefined;
    const source = random.pick(["generator", "generator", "array", "observable"] as const);
    const ending = calm
      ? "return"
      : random.pick(["return", "return", "return", "return", "throw", "stall"] as const);
    // At one end alone. Were there such handlers at both, each could fill the window that the other needs for its responses.
    const readsOnly = calm || caller === 0 ? undefined : rarely(0.15, () => random.integer(0, 2));
    const cancelAfter = calm ? undefined : rarely(0.15, () => random.magnitude(0, 60));
    return {
      number,
      kind,
      caller,
      parent,
      requests,
      responses: kind === "serverStream" || kind === "bidi" ? this.#sizes() : [this.#size()],
      source,
      sourceFailsAt: calm ? undefined : rarely(0.05, () => random.integer(0, requests.length)),
      callerPause: random.pick([0, 0.3, 0.9]),
      handlerPause: random.pick([0, 0.3, 0.9]),
      // A handler that stalls ends only by a deadline or by cancellation.
      timeoutMs: calm
        ? undefined
        : ending === "stall"
          ? random.magnitude(1, 5000)
          : rarely(0.15, () => random.magnitude(0, 1000)),
      cancelAfter,
      breakAfter: calm ? undefined : rarely(0.1, () => random.integer(0, 3)),
      readsOnly,
      readsFirst: random.chance(0.5),
      ending,
      sendsHeader: random.pick(["early", "with first message", "never", "never"] as const),
      metadataBytes: random.chance(0.1) ? random.magnitude(1, 1400) : 0,
      encodesCall: depth < 2 ? rarely(0.05, () => this.call(caller, depth + 1)) : undefined,
      cancelsInEncoding: !calm && random.chance(0.03),
      callsBack:
        depth < 2 ? rarely(0.12, () => this.call(caller === 0 ? 1 : 0, depth + 1, number)) : undefined,
    };
  }

  #sizes(): number[] {
    return Array.from({ length: this.#random.magnitude(0, 40) }, () => this.#size());
  }

  #size(): number {
    const random = this.#random;
    const { maxMessageBytes, calm } = this.#limits;
    const most = maxMessageBytes - 16;
    if (random.chance(0.15)) return 0;
    if (random.chance(0.6)) return random.magnitude(0, Math.min(most, 4000));
    if (!calm && random.chance(0.03)) return most + random.magnitude(17, 1000);
    return random.magnitude(0, most);
  }
}
