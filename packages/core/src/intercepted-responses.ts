import type { Cancellable, CancelLink, CancelReason } from "./cancellation.js";
import {
  alreadyCancelled,
  deadlineError,
  expiryOf,
  listenForCancel,
  type CallOptions,
} from "./client-call.js";
import type { Clock, Timer } from "./clock.js";
import { RpcError } from "./error.js";
import { Status } from "./status.js";
import { DONE, type Waiter } from "./stoppable-source.js";
import type { Deadline, Expiring, TimerWheel } from "./timer-wheel.js";

/** A call on its way through a client's interceptors. */
export interface Interception {
  /** What comes out of the outermost. */
  readonly responses: AsyncIterator<unknown>;
  /** Whether the call has got through to the innermost, and so may run; and whether the peer has answered it. */
  readonly mayHaveRun: boolean;
  readonly hasRun: boolean;
  /** The call is over: its source of requests is of no more use. */
  end(): void;
}

/** How long interceptors have to end when the call is to end: as late as deadlines may be. */
const PATIENCE_MS = 4;

/** The last moment of a Date (ECMA-262, section 21.4.1.1). */
const MAX_TIME = 8.64e15;

/**
 * What the caller iterates of a call with interceptors, which begin with the first `next`. They are told by a signal when the call is
 * cancelled or its deadline passes; if that does not end what they give, because they wait for something else, the call ends without them.
 */
export class InterceptedResponses
  implements AsyncIterableIterator<unknown, undefined>, Cancellable, Expiring
{
  readonly #options: CallOptions;
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;
  readonly #begin: (signal: AbortSignal, deadline: Date | undefined) => Interception;
  readonly #controller = new AbortController();
  readonly #waiting = new Set<Waiter>();
  #iterated = false;
  #interception: Interception | undefined = undefined;
  #over = false;
  /** Why the call cannot begin, or has been cancelled. */
  #failure: RpcError | undefined = undefined;
  #expireAt: number | undefined = undefined;
  #deadline: Deadline | undefined = undefined;
  #links: readonly CancelLink[] = [];
  #patience: Timer | undefined = undefined;

  constructor(
    options: CallOptions,
    clock: Clock,
    wheel: TimerWheel,
    begin: (signal: AbortSignal, deadline: Date | undefined) => Interception,
  ) {
    this.#options = options;
    this.#clock = clock;
    this.#wheel = wheel;
    this.#begin = begin;
    try {
      this.#expireAt = expiryOf(options, clock.now());
    } catch (error) {
      this.#failure = RpcError.from(error, Status.INTERNAL);
    }
  }

  [Symbol.asyncIterator](): this {
    if (this.#iterated) throw new TypeError("a stream of messages can be iterated only once");
    this.#iterated = true;
    return this;
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
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
      responses.next().then(
        (result) => {
          this.#waiting.delete(waiter);
          if (result.done === true) this.#finish();
          resolve(result.done === true ? DONE : result);
        },
        (error: unknown) => {
          this.#waiting.delete(waiter);
          this.#finish();
          reject(this.#explain(error) as Error);
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
    const deadline =
      expireAt === undefined ? undefined : new Date(Math.min(Date.now() + expireAt - now, MAX_TIME));
    const interception = this.#begin(this.#controller.signal, deadline);
    if (expireAt !== undefined) this.#deadline = this.#wheel.add(this, expireAt);
    this.#links = listenForCancel(this.#options, this);
    return interception;
  }

  /** The caller wants no more. Resolves when the interceptors have cleaned up, unless one of them is being waited for. */
  async return(): Promise<IteratorResult<unknown, undefined>> {
    const responses = this.#interception?.responses;
    const over = this.#over;
    const waiting = [...this.#waiting];
    this.#finish();
    if (responses === undefined || over) return DONE;
    if (waiting.length > 0) {
      this.#controller.abort(new RpcError(Status.CANCELLED, "the caller wants no more responses"));
      for (const { resolve } of waiting) resolve(DONE);
      this.#abandon(responses);
    } else await responses.return?.();
    return DONE;
  }

  onDeadline(): void {
    this.#cancel(deadlineError(this.#interception!.mayHaveRun));
  }

  onCancelled({ code, text, cause }: CancelReason): void {
    this.#cancel(new RpcError(code, text, { cause, mayHaveRun: this.#interception!.mayHaveRun }));
  }

  #cancel(failure: RpcError): void {
    if (this.#over || this.#failure !== undefined) return;
    this.#failure = failure;
    this.#controller.abort(failure);
    if (this.#waiting.size > 0) this.#awaitEnd();
  }

  /** The interceptors may end by themselves, perhaps better than the call would, but not take longer than all that is theirs to do. */
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

  /** What ended by the signal has ended for the reason that the signal was aborted for; and what has run may not be repeated. */
  #explain(error: unknown): unknown {
    if (!(error instanceof RpcError)) return error;
    const failure = this.#failure;
    const mayHaveRun = error.mayHaveRun || this.#interception!.hasRun;
    if (failure !== undefined && error.cause === failure) {
      return new RpcError(failure.code, failure.message, { cause: failure.cause, mayHaveRun });
    }
    if (error.mayHaveRun === mayHaveRun) return error;
    // An interceptor's own, which knows nothing of that.
    const { code, message, details, metadata } = error;
    return new RpcError(code, message, { details, metadata, cause: error, mayHaveRun });
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#patience?.cancel();
    if (this.#deadline !== undefined) this.#wheel.remove(this.#deadline);
    for (const link of this.#links) link.remove();
    this.#interception?.end();
  }
}
