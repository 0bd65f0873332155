import { abortFor, type Cancellable, type CancelLink, type CancelReason } from "./cancellation.js";
import {
  alreadyCancelled,
  deadlineError,
  expiryOf,
  listenForCancel,
  type CallOptions,
} from "./client-call.js";
import type { Clock, Timer } from "./clock.js";
import { RpcError } from "./error.js";
import { DONE, type Waiter } from "./message-queue.js";
import { Status } from "./status.js";
import type { StoppableSource } from "./stoppable-source.js";
import type { Deadline, Expiring, TimerWheel } from "./timer-wheel.js";

/** A call on its way through a client's interceptors. */
export interface Interception {
  /** What comes out of the outermost. */
  readonly responses: AsyncIterator<unknown>;
  /** Whether the call has got through to the innermost, and so may run at any time. */
  readonly mayHaveRun: boolean;
  /** Whether it is not certain that no handler has run: the peer has answered, or a call goes on, or was lost. */
  readonly hasRun: boolean;
  /** All calls that the innermost has made are over. */
  readonly rests: boolean;
  /** The call is over: calls that go on within are of no more use. */
  end(): void;
}

/** Begins a call. `onRest` is to be called when `rests` may have become true. */
export type Begin = (signal: AbortSignal, deadline: Date | undefined, onRest: () => void) => Interception;

/** How long interceptors have to end when the call is to end: as late as deadlines may be. */
const PATIENCE_MS = 4;

/** The last moment of a Date (ECMA-262, section 21.4.1.1). */
const MAX_TIME = 8.64e15;

/**
 * What the caller iterates of a call with interceptors. Like any call it begins at once, with the first response, which waits for the caller.
 * Interceptors are told by a signal when the call is
 * cancelled or its deadline passes; if that does not end what they give, because they wait for something else, the call ends without them.
 */
export class InterceptedResponses
  implements AsyncIterableIterator<unknown, undefined>, Cancellable, Expiring
{
  readonly #options: CallOptions;
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;
  readonly #requests: StoppableSource;
  readonly #begin: Begin;
  readonly #controller = new AbortController();
  readonly #waiting = new Set<Waiter<unknown>>();
  /** What the caller has not asked for yet. */
  #first: Promise<IteratorResult<unknown, undefined>> | undefined;
  #iterated = false;
  #interception: Interception | undefined = undefined;
  #over = false;
  /** Why the call cannot begin, or has been cancelled. */
  #failure: RpcError | undefined = undefined;
  #expireAt: number | undefined = undefined;
  /** Whether the deadline and what may cancel the call are watched. */
  #watching = false;
  #deadline: Deadline | undefined = undefined;
  #links: readonly CancelLink[] = [];
  #patience: Timer | undefined = undefined;

  constructor(
    options: CallOptions,
    clock: Clock,
    wheel: TimerWheel,
    requests: StoppableSource,
    begin: Begin,
  ) {
    this.#options = options;
    this.#clock = clock;
    this.#wheel = wheel;
    this.#requests = requests;
    this.#begin = begin;
    try {
      this.#expireAt = expiryOf(options, clock.now());
    } catch (error) {
      this.#failure = RpcError.from(error, Status.INTERNAL);
    }
    this.#first = this.#draw();
    // Who asks for it is told why it fails.
    this.#first.catch(() => {});
  }

  [Symbol.asyncIterator](): this {
    if (this.#iterated) throw new TypeError("a stream of messages can be iterated only once");
    this.#iterated = true;
    return this;
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    const first = this.#first;
    this.#first = undefined;
    return first ?? this.#draw();
  }

  #draw(): Promise<IteratorResult<unknown, undefined>> {
    if (this.#over) return Promise.resolve(DONE);
    try {
      this.#interception ??= this.#start();
    } catch (error) {
      this.#finish();
      return Promise.reject(RpcError.from(error, Status.INTERNAL));
    }
    const { responses } = this.#interception;
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      this.#waiting.add(waiter);
      this.#watch();
      responses.next().then(
        (result) => {
          this.#waiting.delete(waiter);
          this.#rest();
          if (result.done === true) this.#finish();
          resolve(result.done === true ? DONE : result);
        },
        (error: unknown) => {
          this.#waiting.delete(waiter);
          const explained = this.#explain(error);
          this.#finish();
          reject(explained as Error);
        },
      );
      if (this.#failure !== undefined) this.#awaitEnd();
    });
  }

  #start(): Interception {
    if (this.#failure !== undefined) throw this.#failure;
    const reason = alreadyCancelled(this.#options);
    if (reason !== undefined) throw new RpcError(reason.code, reason.text, { cause: reason.cause });
    const expireAt = this.#expireAt;
    const now = this.#clock.now();
    if (expireAt !== undefined && expireAt <= now) throw deadlineError(false);
    // Never before the deadline of this call, which may have fractions.
    const deadline =
      expireAt === undefined
        ? undefined
        : new Date(Math.min(Math.ceil(Date.now() + 1 + expireAt - now), MAX_TIME));
    return this.#begin(this.#controller.signal, deadline, () => this.#rest());
  }

  /** Be told when the call is to end. */
  #watch(): void {
    if (this.#watching || this.#failure !== undefined) return;
    this.#watching = true;
    const reason = alreadyCancelled(this.#options);
    if (reason !== undefined) return this.onCancelled(reason);
    this.#links = listenForCancel(this.#options, this);
    if (this.#expireAt !== undefined) this.#deadline = this.#wheel.add(this, this.#expireAt);
  }

  /** While nobody waits, and nothing is under way, there is nothing to end. Whoever leaves then is not remembered. */
  #rest(): void {
    if (this.#waiting.size === 0 && this.#interception?.rests === true) this.#unwatch();
  }

  #unwatch(): void {
    this.#watching = false;
    if (this.#deadline !== undefined) this.#wheel.remove(this.#deadline);
    for (const link of this.#links) link.remove();
    this.#deadline = undefined;
    this.#links = [];
  }

  /** The caller wants no more. Resolves when the interceptors have cleaned up, unless one of them is being waited for. */
  async return(): Promise<IteratorResult<unknown, undefined>> {
    const responses = this.#interception?.responses;
    const over = this.#over;
    const waiting = [...this.#waiting];
    this.#first = undefined;
    this.#finish();
    if (responses === undefined || over) return DONE;
    if (waiting.length > 0) {
      const text = "the caller wants no more responses";
      abortFor(this.#controller, { code: Status.CANCELLED, text, cause: undefined });
      for (const { resolve } of waiting) resolve(DONE);
      this.#abandon(responses);
    } else await responses.return?.();
    return DONE;
  }

  onDeadline(): void {
    const { code, message } = deadlineError(false);
    this.onCancelled({ code, text: message, cause: undefined });
  }

  onCancelled(reason: CancelReason): void {
    if (this.#over || this.#failure !== undefined) return;
    const interception = this.#interception!;
    const { code, text, cause } = reason;
    this.#failure = new RpcError(code, text, { cause, mayHaveRun: interception.mayHaveRun });
    abortFor(this.#controller, reason);
    this.#stopRequests(this.#failure);
    if (this.#waiting.size > 0) this.#awaitEnd();
  }

  /** The interceptors have a moment to end by themselves, perhaps with an answer in place of the error; then the call ends without them. */
  #awaitEnd(): void {
    this.#patience ??= this.#clock.setTimer(() => {
      this.#patience = undefined;
      const [first, ...others] = this.#waiting;
      // They gave another response instead.
      if (first === undefined) return;
      this.#finish();
      first.reject(this.#failure);
      for (const { resolve } of others) resolve(DONE);
      this.#abandon(this.#interception!.responses);
    }, PATIENCE_MS);
  }

  /** Nobody hears of what cleaning up gives or fails with. */
  #abandon(responses: AsyncIterator<unknown>): void {
    void responses.return?.().catch(() => {});
  }

  /** An interceptor that makes an error of its own does not know that the call has run. */
  #explain(error: unknown): unknown {
    if (!(error instanceof RpcError) || error.mayHaveRun || !this.#interception!.hasRun) return error;
    const { code, message, details, metadata } = error;
    return new RpcError(code, message, { details, metadata, cause: error, mayHaveRun: true });
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#patience?.cancel();
    this.#unwatch();
    this.#interception?.end();
    this.#stopRequests();
  }

  /** The source of requests is of no more use, also if the call never began; with `error`, what is awaited of it fails. */
  #stopRequests(error?: RpcError): void {
    void this.#requests.stop(error).catch(() => {});
  }
}
