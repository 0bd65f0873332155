/** Calls that block, for code that cannot be async. */
import { deadlineError, expiryOf, NO_OPTIONS, SyncCall, type CallOptions } from "./client-call.js";
import type { Clock, Timer } from "./clock.js";
import type { MessageCodec, MethodDefinition, ServiceDefinition } from "./definition.js";
import { RpcError } from "./error.js";
import { completeLimits, limitsOver, type Limits } from "./limits.js";
import { methodsOf, type MethodInfo } from "./method.js";
import { Session, type Acceptor, type SessionOwner } from "./session.js";
import { RefusedCall } from "./server-call.js";
import { Status } from "./status.js";
import { TimerWheel } from "./timer-wheel.js";
import type { BlockingConnection } from "./transport.js";

/** Options of one blocking call. There is no signal: nothing can abort while the thread is blocked. */
export type SyncCallOptions = Omit<CallOptions, "signal" | "waitForReady">;

/** Options of a synchronous channel, beside those of its address's transport. */
export interface SyncChannelOptions {
  /** What this end allows the other. */
  readonly limits?: Partial<Limits>;
  /**
   * How long a call may take that has neither `timeoutMs` nor `deadline` of its own, in milliseconds. Default 30,000;
   * Infinity for calls that may block for ever.
   */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;

/** How long `close` waits for the peer to have taken what was sent. */
const CLOSE_MS = 1000;

type SyncMethod<M extends MethodDefinition> = M extends {
  readonly requestType: MessageCodec<infer Request>;
  readonly responseType: MessageCodec<infer Response>;
}
  ? M extends { readonly responseStream: true }
    ? (request: Request, options?: SyncCallOptions) => IterableIterator<Response>
    : (request: Request, options?: SyncCallOptions) => Response
  : never;

/**
 * The typed client of a service whose calls block: a function for each method that takes one request. What it returns is the
 * response, or an iterator of them, each `next` of which blocks.
 */
export type SyncClient<S extends ServiceDefinition> = {
  readonly [
    K in keyof S["methods"] as S["methods"][K] extends { readonly requestStream: true } ? never : K
  ]: SyncMethod<S["methods"][K]>;
};

/** How old the knowledge may be that the peer lives, when a call is begun: to ask takes a system call. */
const FRESH_MS = 1;

/**
 * A clock that its user has to look at, and timers that fire only while somebody waits. To read the system's clock takes as
 * long as a tenth of what a call may.
 */
class WaitingClock implements Clock {
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  #now = performance.now();

  /** The time of the last `look`. */
  now(): number {
    return this.#now;
  }

  look(): number {
    return (this.#now = performance.now());
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = { at: this.now() + delayMs, callback };
    this.#timers.add(timer);
    // Waiting keeps the process busy by itself, and nothing else does.
    return { cancel: () => void this.#timers.delete(timer), ref() {}, unref() {} };
  }

  /** Looks how long it is until the next timer is due; Infinity if there is none. */
  untilNextMs(): number {
    let next = Infinity;
    for (const { at } of this.#timers) next = Math.min(next, at);
    return Math.max(0, next - this.look());
  }

  fireDue(): void {
    if (this.#timers.size === 0) return;
    const now = this.look();
    for (const timer of [...this.#timers]) {
      if (timer.at <= now && this.#timers.delete(timer)) timer.callback();
    }
  }
}

/** Serves nothing: what the peer calls on a synchronous channel is unimplemented. */
const NOTHING: Acceptor = {
  find: () => undefined,
  accept: (session) => new RefusedCall(session, Status.UNIMPLEMENTED, "a synchronous client serves no calls"),
};

/**
 * Makes blocking calls to one peer, over one connection at a time, made when it is first needed and again after it is lost.
 * While a call blocks, nothing else in this thread runs, and between calls nobody reads what the peer sends.
 */
export class SyncChannel implements SessionOwner {
  readonly #address: string;
  readonly #dial: (timeoutMs: number) => BlockingConnection;
  readonly #limits: Limits;
  readonly #givenLimits: Partial<Limits> | undefined;
  readonly #timeoutMs: number;
  /** The options of a call that gives none. */
  readonly #bounded: SyncCallOptions;
  readonly #clock = new WaitingClock();
  readonly #wheel = new TimerWheel(this.#clock);
  #session: Session | undefined;
  #connection: BlockingConnection | undefined;
  #closed = false;
  /** What ended the last session. */
  #error: Error | undefined;
  /** A call is being begun or waited for: nothing else may be. */
  #busy = false;
  /** When the connection was last asked for what came between the calls, its end among it. */
  #asked = 0;

  /** `dial` makes a connection, blocking for up to so many milliseconds. Nothing is dialled before the first call. */
  constructor(address: string, dial: (timeoutMs: number) => BlockingConnection, options: SyncChannelOptions) {
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    if (typeof timeoutMs !== "number" || !(timeoutMs > 0)) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `timeoutMs is ${String(timeoutMs)}; give milliseconds above 0, or Infinity`,
      );
    }
    this.#address = address;
    this.#dial = dial;
    this.#limits = completeLimits(options.limits);
    this.#givenLimits = options.limits;
    this.#timeoutMs = timeoutMs;
    this.#bounded = { timeoutMs };
  }

  /** The client of a service. Throws INVALID_ARGUMENT for what is no generated Definition. */
  client<S extends ServiceDefinition>(definition: S): SyncClient<S> {
    const client: Record<string, unknown> = {};
    for (const [name, method] of methodsOf(definition)) {
      if (method.definition.requestStream) continue;
      client[name] = method.definition.responseStream
        ? (request: unknown, options?: SyncCallOptions) => this.#stream(method, request, options)
        : (request: unknown, options?: SyncCallOptions) => this.#unary(method, request, options);
    }
    return Object.freeze(client) as SyncClient<S>;
  }

  /** Close the connection; iterators that have not ended fail with CANCELLED. Idempotent. */
  close(): void {
    if (this.#busy) throw busyError();
    this.#closed = true;
    const session = this.#session;
    if (session === undefined || session.closed) return;
    this.#exclusively(() => {
      session.drain("the client is closed");
      let now = this.#clock.look();
      const until = now + CLOSE_MS;
      while (!this.#connection!.ended && session.localStreams === 0 && now < until) {
        this.#wait(until - now);
        now = this.#clock.look();
      }
      session.destroy(new RpcError(Status.CANCELLED, "the synchronous client was closed"));
    });
  }

  #unary(method: MethodInfo, request: unknown, options: SyncCallOptions = NO_OPTIONS): unknown {
    return this.#exclusively(() => {
      const call = this.#begin(method, request, options);
      this.#await(() => call.ended);
      if (call.error !== undefined) throw call.error;
      if (call.received === 1) return call.take();
      throw new RpcError(Status.INTERNAL, `the peer sent ${call.received} responses instead of one`, {
        mayHaveRun: true,
      });
    });
  }

  *#stream(method: MethodInfo, request: unknown, options: SyncCallOptions = NO_OPTIONS): Generator<unknown> {
    const call = this.#exclusively(() => this.#begin(method, request, options));
    const next = (): boolean => {
      this.#await(() => call.available || call.ended);
      return call.available;
    };
    try {
      while (this.#exclusively(next)) yield call.take();
      if (call.error !== undefined) throw call.error;
    } finally {
      call.release();
      call.drop();
      if (!call.ended) {
        call.abandon();
        call.session.connection.flush();
      }
    }
  }

  #begin(method: MethodInfo, request: unknown, options: SyncCallOptions): SyncCall {
    const bounded =
      options.timeoutMs !== undefined || options.deadline !== undefined
        ? options
        : options === NO_OPTIONS
          ? this.#bounded
          : { ...options, timeoutMs: this.#timeoutMs };
    const expireAt = expiryOf(bounded, this.#clock.look());
    const call = new SyncCall(this.#ready(expireAt ?? Infinity), method);
    call.begin(request, undefined, bounded, expireAt);
    return call;
  }

  /** A session that takes calls. Throws UNAVAILABLE if none can be had, or DEADLINE_EXCEEDED. */
  #ready(expireAt: number): Session {
    if (this.#closed) {
      throw new RpcError(Status.FAILED_PRECONDITION, "the synchronous client has been closed; make another");
    }
    if (this.#session?.ready === true) this.#ask();
    if (this.#session?.ready === true) return this.#session;

    if (this.#connection !== undefined && !this.#connection.traits.reconnectable) {
      throw new RpcError(
        Status.UNAVAILABLE,
        `the connection by ${this.#address} is gone, and cannot be made again`,
        {
          cause: this.#error,
          mayHaveRun: false,
        },
      );
    }
    let now = this.#clock.look();
    if (expireAt <= now) throw deadlineError(false);
    // Calls that are still being iterated on a connection that drains go no further.
    this.#session?.destroy(
      new RpcError(Status.UNAVAILABLE, "the connection was replaced: the peer is closing it"),
    );
    let connection: BlockingConnection;
    try {
      connection = this.#dial(Math.min(expireAt - now, this.#limits.handshakeTimeoutMs));
    } catch (error) {
      if (this.#clock.look() >= expireAt) throw deadlineError(false);
      throw error;
    }
    now = this.#clock.look();
    const session = new Session({
      connection,
      connecting: connection.connecting,
      limits: limitsOver(connection, this.#limits, this.#givenLimits),
      clock: this.#clock,
      wheel: this.#wheel,
      acceptor: NOTHING,
      owner: this,
      keepalive: undefined,
      answersPing: false,
    });
    this.#connection = connection;
    this.#session = session;
    this.#error = undefined;
    session.start();
    for (; !session.ready && !session.closed; now = this.#clock.look()) {
      if (now >= expireAt) {
        session.destroy(new RpcError(Status.CANCELLED, "the call that made this connection ended first"));
        throw deadlineError(false);
      }
      this.#wait(expireAt - now);
    }
    if (session.ready) return session;
    const cause = this.#error as Error | undefined;
    throw new RpcError(
      cause instanceof RpcError ? cause.code : Status.UNAVAILABLE,
      cause?.message ?? `the peer at ${this.#address} closed the connection at once`,
      { cause, mayHaveRun: false },
    );
  }

  /** Takes what has come between the calls: it may be the end of the connection, or the news that the peer wants none. */
  #ask(): void {
    const connection = this.#connection!;
    const now = this.#clock.now();
    if (!connection.mayHaveInput && now - this.#asked < FRESH_MS) return;
    this.#asked = now;
    this.#wait(0);
  }

  /** Waits until `done`; a call ends at its deadline at the latest. */
  #await(done: () => boolean): void {
    while (!done()) {
      this.#connection!.wait(this.#clock.untilNextMs());
      if (done()) return;
      this.#clock.fireDue();
    }
  }

  /** Lets the connection work, after up to `timeoutMs` in which there is nothing to do, and deadlines pass. */
  #wait(timeoutMs: number): void {
    // What is left of a time may be less than nothing by now.
    this.#connection!.wait(Math.max(0, Math.min(timeoutMs, this.#clock.untilNextMs())));
    this.#clock.fireDue();
  }

  #exclusively<T>(body: () => T): T {
    if (this.#busy) throw busyError();
    this.#busy = true;
    try {
      return body();
    } finally {
      this.#busy = false;
    }
  }

  /** For its session. */
  onReady(): void {}
  onDraining(): void {}
  onClosed(session: Session, error: Error | undefined): void {
    if (session === this.#session) this.#error = error;
  }
}

function busyError(): RpcError {
  return new RpcError(
    Status.FAILED_PRECONDITION,
    "a synchronous client was used while it was at work: by a getter of a request, or by a callback of its own call",
  );
}
