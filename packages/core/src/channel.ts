import type { Clock, Timer } from "./clock.js";
import { MAX_DELAY_MS, systemClock } from "./clock.js";
import {
  alreadyCancelled,
  callForOne,
  deadlineError,
  expiryOf,
  listenForCancel,
  NO_OPTIONS,
  ResponseQueue,
  StreamResponseCall,
  type CallOptions,
} from "./client-call.js";
import { checkSignal, type CancelLink, type CancelReason } from "./cancellation.js";
import type { Client, Implementation, MessageSource, ServiceDefinition } from "./definition.js";
import { Emitter } from "./emitter.js";
import { RpcError } from "./error.js";
import { compose, onlyMessage, type InterceptedCall, type Interceptor } from "./interceptor.js";
import { InterceptedResponses, type Begin, type Interception } from "./intercepted-responses.js";
import { completeLimits, limitsOver, type Limits } from "./limits.js";
import { HeldSource } from "./message-pump.js";
import { methodsOf, type MethodInfo } from "./method.js";
import type { ReceivedBlock } from "./metadata-block.js";
import { Metadata } from "./metadata.js";
import { Registry, type ServiceOptions } from "./registry.js";
import { RefusedCall, ServerCall, type ServedMethod } from "./server-call.js";
import { Session, type AcceptedStream, type Acceptor, type Keepalive, type SessionOwner } from "./session.js";
import { Status } from "./status.js";
import { StoppableSource } from "./stoppable-source.js";
import { TimerWheel, type Deadline, type Expiring } from "./timer-wheel.js";
import type { Connection, Peer } from "./transport.js";

/** gRPC's connectivity states, by the same names. */
export type ChannelState = "idle" | "connecting" | "ready" | "transient-failure" | "shutdown";

/**
 * How long to wait between attempts to reconnect: exponentially longer, each time with jitter. A connection that has lasted, for
 * `initialMs` or a second, is made again at once.
 */
export interface Backoff {
  /** Before the second attempt, in milliseconds. Default 100. */
  readonly initialMs: number;
  /** At most, in milliseconds. Default 10,000. */
  readonly maxMs: number;
  /** From one attempt to the next. Default 1.6. */
  readonly factor: number;
  /** Each wait is changed at random by up to this part of it. Default 0.2. */
  readonly jitter: number;
}

/** What clients, servers and their channels have in common. */
export interface EndpointOptions {
  /** What this end allows the other. */
  readonly limits?: Partial<Limits>;
  /** Around every call made and served here; the first is outermost. */
  readonly interceptors?: readonly Interceptor[];
  /**
   * PINGs to a silent peer; `false` for none. Default: every 20 s, with 10 s to answer, where only silence tells of the
   * peer's death (`traits.peerDeath`), and none where the kernel does.
   */
  readonly keepalive?: Partial<Keepalive> | false;
}

/** Options of a channel that connects. */
export interface ChannelOptions extends EndpointOptions {
  /** Whether calls wait for a connection, and `connect` for the first one, instead of failing. Default false. */
  readonly waitForReady?: boolean;
  readonly backoff?: Partial<Backoff>;
  /**
   * Adds what this end serves, by `channel.add`, before there is a connection: a peer that calls as soon as it can finds it.
   */
  readonly services?: (channel: Channel) => void;
  /** Gives up the first connection attempt when aborted. */
  readonly signal?: AbortSignal;
}

/** Options of `close`. */
export interface CloseOptions {
  /** How long calls in flight may take to finish, in milliseconds, before they are cut off. Default 30,000. */
  readonly timeoutMs?: number;
}

const DEFAULT_CLOSE_MS = 30_000;
const LASTING_MS = 1000;
const DEFAULT_KEEPALIVE: Keepalive = { intervalMs: 20_000, timeoutMs: 10_000 };
const DEFAULT_BACKOFF: Backoff = { initialMs: 100, maxMs: 10_000, factor: 1.6, jitter: 0.2 };

export type ChannelEvents = {
  /** The state has changed. */
  state: [state: ChannelState];
};

/** Wheels are shared by all channels on one clock: one armed timer in all. */
const wheels = new WeakMap<Clock, TimerWheel>();

function wheelOf(clock: Clock): TimerWheel {
  let wheel = wheels.get(clock);
  if (wheel === undefined) wheels.set(clock, (wheel = new TimerWheel(clock)));
  return wheel;
}

/** What a channel needs that its maker knows. Not part of the public API. */
export interface ChannelParts {
  readonly address: string;
  readonly options: EndpointOptions;
  readonly clock?: Clock;
  /** Makes connections; undefined for a channel that lives as long as its one session. */
  readonly dial?: (signal: AbortSignal) => Promise<Connection>;
  /** Services that are found if the channel itself has none of the name. */
  readonly services?: Registry;
  readonly onReady?: (channel: Channel) => void;
  readonly onClosed?: (channel: Channel, error: Error | undefined) => void;
}

/**
 * Makes calls to one peer, and serves those that the peer makes back. A channel of `connect` reconnects for as long as
 * it is not closed; a server's channel (`context.channel`) lives as long as its connection.
 */
export class Channel implements SessionOwner, Acceptor {
  /** The address that this channel connects to, or that the peer connected to. */
  readonly address: string;
  readonly limits: Limits;
  readonly #givenLimits: Partial<Limits> | undefined;
  readonly #clock: Clock;
  readonly #dial: ChannelParts["dial"];
  readonly #interceptors: readonly Interceptor[];
  readonly #keepalive: Partial<Keepalive> | false | undefined;
  readonly #waitForReady: boolean;
  readonly #backoff: Backoff;
  readonly #onReadyHook: ChannelParts["onReady"];
  readonly #onClosedHook: ChannelParts["onClosed"];
  readonly #inheritedServices: Registry | undefined;
  #services: Registry | undefined = undefined;
  #events: Emitter<ChannelEvents> | undefined = undefined;

  #state: ChannelState = "idle";
  /** The session for new calls; ready, or on its way to be. */
  #session: Session | undefined = undefined;
  /** Sessions that are not closed, among them those that finish their calls after a GOAWAY. */
  readonly #sessions = new Set<Session>();
  #connecting: AbortController | undefined = undefined;
  #connectTimer: Timer | undefined = undefined;
  /** Since the last connection that lasted: failed attempts, and whether one was made without a pause. */
  #attempts = 0;
  #hurried = false;
  #readyAt = 0;
  #retryTimer: Timer | undefined = undefined;
  #lastError: RpcError | undefined = undefined;
  #waiting: Set<SessionWaiter> | undefined = undefined;
  #referenced = true;
  #closing: Promise<void> | undefined = undefined;
  #closed: (() => void) | undefined = undefined;
  #closeTimer: Timer | undefined = undefined;

  /** @private Channels are made by `connect` and by servers. */
  constructor(parts: ChannelParts) {
    const { options } = parts;
    const { waitForReady, backoff } = options as ChannelOptions;
    checkEndpointOptions(options);
    this.address = parts.address;
    this.limits = completeLimits(options.limits);
    this.#givenLimits = options.limits;
    this.#clock = parts.clock ?? systemClock;
    this.#dial = parts.dial;
    this.#interceptors = options.interceptors ?? [];
    this.#keepalive = options.keepalive;
    this.#waitForReady = waitForReady ?? false;
    this.#backoff = completeBackoff(backoff);
    this.#inheritedServices = parts.services;
    this.#onReadyHook = parts.onReady;
    this.#onClosedHook = parts.onClosed;
  }

  get state(): ChannelState {
    return this.#state;
  }

  /** What the kernel vouches for about the other end; undefined while there is no connection. */
  get peer(): Peer | undefined {
    return this.#session?.connection.peer;
  }

  /** Be told of `event`. Returns a function that ends it. */
  on<E extends keyof ChannelEvents>(event: E, listener: (...args: ChannelEvents[E]) => void): () => void {
    return (this.#events ??= new Emitter()).on(event, listener);
  }

  /** A typed client of a service that the peer offers: one function per method. */
  client<S extends ServiceDefinition>(service: S): Client<S> {
    const client: Record<string, unknown> = {};
    for (const [key, method] of methodsOf(service)) client[key] = this.#callFunction(method);
    return client as Client<S>;
  }

  /**
   * Offer a service to the peer of this channel. Throws ALREADY_EXISTS if it is offered already, INVALID_ARGUMENT if a
   * method has no handler (and names it).
   */
  add<S extends ServiceDefinition>(
    service: S,
    implementation: Implementation<S>,
    options?: ServiceOptions,
  ): this {
    this.#services ??= new Registry(this.#interceptors, this.#inheritedServices);
    this.#services.add(service, implementation, options);
    return this;
  }

  /** Whether the channel's connection alone keeps the process alive (it does until `unref`). */
  ref(): void {
    this.#setRef(true);
  }

  unref(): void {
    this.#setRef(false);
  }

  #setRef(on: boolean): void {
    this.#referenced = on;
    for (const session of this.#sessions) session.setRef(on);
    for (const timer of [this.#retryTimer, this.#connectTimer]) {
      if (on) timer?.ref();
      else timer?.unref();
    }
  }

  /**
   * Make no new calls, let those in flight (both ways) finish, and close. Resolves when nothing is left. Calls that take
   * longer than `timeoutMs` fail with UNAVAILABLE. Idempotent; the first call's options count. Rejects, and closes nothing, with
   * INVALID_ARGUMENT.
   */
  close(options: CloseOptions = {}): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    const wrong = closeError(options);
    if (wrong !== undefined) return Promise.reject(wrong);
    const closing = (this.#closing = new Promise((resolve) => (this.#closed = resolve)));
    this.#retryTimer?.cancel();
    this.#connecting?.abort(closedError());
    this.#setState("shutdown");
    this.#refuseWaiting(closedError(), () => true);
    if (this.#sessions.size === 0) this.#finishClosing();
    else {
      this.#closeTimer = this.#clock.setTimer(() => {
        const error = new RpcError(Status.UNAVAILABLE, "the channel was closed before the call was over");
        for (const session of this.#sessions) session.destroy(error);
      }, options.timeoutMs ?? DEFAULT_CLOSE_MS);
      for (const session of this.#sessions) session.drain("the channel was closed");
    }
    return closing;
  }

  /** @private Cut every connection at once. */
  destroy(error: Error): void {
    for (const session of this.#sessions) session.destroy(error);
  }

  // ------------------------------------------------------------------------------------------------ Connecting

  /** @private The first attempt of `connect`: rejects if it fails, unless the channel waits for connections. */
  async open(signal: AbortSignal | undefined): Promise<void> {
    if (signal !== undefined) checkSignal(signal);
    signal?.throwIfAborted();
    const onAbort = (): void => {
      const error = RpcError.from(signal!.reason, Status.CANCELLED);
      this.#connecting?.abort(error);
      this.#refuseWaiting(error, () => true);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      this.#connect();
      await this.#whenReady({ waitForReady: this.#waitForReady });
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** @private Run a session over a connection: the one of a server's channel, or one just made. */
  attach(connection: Connection, connecting: boolean): void {
    const { peerDeath } = connection.traits;
    const keepalive =
      this.#keepalive === false || (this.#keepalive === undefined && peerDeath === "carrier")
        ? undefined
        : { ...DEFAULT_KEEPALIVE, ...this.#keepalive };
    const session = new Session({
      connection,
      connecting,
      limits: limitsOver(connection, this.limits, this.#givenLimits),
      clock: this.#clock,
      wheel: wheelOf(this.#clock),
      acceptor: this,
      owner: this,
      keepalive,
    });
    this.#session = session;
    this.#sessions.add(session);
    if (!this.#referenced) session.setRef(false);
    session.start();
  }

  #connect(): void {
    const controller = (this.#connecting = new AbortController());
    this.#setState("connecting");
    const { handshakeTimeoutMs } = this.limits;
    const timer = (this.#connectTimer = this.#clock.setTimer(() => {
      if (controller.signal.aborted) return;
      const error = new RpcError(
        Status.UNAVAILABLE,
        `there was no connection with ${this.address} within ${handshakeTimeoutMs} ms`,
      );
      controller.abort(error);
      this.#onConnectFailure(error);
    }, handshakeTimeoutMs));
    if (!this.#referenced) timer.unref();
    this.#dial!(controller.signal).then(
      (connection) => {
        timer.cancel();
        if (controller.signal.aborted) connection.destroy();
        else this.attach(connection, true);
      },
      (error: unknown) => {
        timer.cancel();
        if (!controller.signal.aborted) this.#onConnectFailure(RpcError.from(error, Status.UNAVAILABLE));
      },
    );
  }

  #onConnectFailure(error: RpcError): void {
    this.#session = undefined;
    this.#lastError = error;
    if (this.#closing !== undefined) return;
    this.#setState("transient-failure");
    this.#refuseWaiting(error, (waiter) => !waiter.patient);
    if (this.#closing !== undefined) return; // by a listener, or by who waited
    const { initialMs, maxMs, factor, jitter } = this.#backoff;
    const wait = Math.min(maxMs, initialMs * factor ** this.#attempts++);
    this.#retryTimer = this.#clock.setTimer(
      () => this.#connect(),
      wait * (1 + jitter * (2 * Math.random() - 1)),
    );
    if (!this.#referenced) this.#retryTimer.unref();
  }

  /** @private */
  onReady(session: Session): void {
    if (this.#closing !== undefined) return session.drain("the channel was closed");
    this.#readyAt = this.#clock.now();
    this.#setState("ready");
    this.#onReadyHook?.(this);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    for (const waiter of waiting ?? []) waiter.resolve(session);
  }

  /** @private */
  onDraining(session: Session): void {
    if (session !== this.#session || this.#closing !== undefined) return;
    this.#loseSession(session, new RpcError(Status.UNAVAILABLE, "the peer is closing the connection"));
  }

  /** @private */
  onClosed(session: Session, error: Error | undefined): void {
    this.#sessions.delete(session);
    if (session === this.#session) {
      // However the connection ended: to calls it is gone.
      const text = error?.message ?? "the peer closed the connection";
      this.#loseSession(session, new RpcError(Status.UNAVAILABLE, text, { cause: error }));
    }
    if (this.#sessions.size === 0) {
      if (this.#closing !== undefined) this.#finishClosing();
      else if (this.#state === "shutdown") this.#onClosedHook?.(this, error);
    }
  }

  /** The session takes no more calls: connect again, if that can be. */
  #loseSession(session: Session, error: RpcError): void {
    if (this.#closing !== undefined) return;
    if (this.#dial === undefined || !session.connection.traits.reconnectable) {
      // What this channel was for is over; calls in flight may still finish.
      this.#lastError = error;
      this.#setState("shutdown");
      this.#refuseWaiting(error, () => true);
      if (session.closed) this.#session = undefined;
    } else if (this.#state === "ready" && this.#mayHurry()) {
      this.#session = undefined;
      this.#lastError = error;
      this.#connect();
    } else this.#onConnectFailure(error);
  }

  /**
   * Whether to connect again without a pause: when the connection has lasted (see `Backoff`); and else once, since the server may just have
   * been started again. One that takes connections only to end them is to be left in peace.
   */
  #mayHurry(): boolean {
    if (this.#clock.now() - this.#readyAt >= Math.min(this.#backoff.initialMs, LASTING_MS)) {
      this.#attempts = 0;
      this.#hurried = false;
    }
    const mayHurry = !this.#hurried;
    this.#hurried = true;
    return mayHurry;
  }

  #finishClosing(): void {
    this.#closeTimer?.cancel();
    this.#session = undefined;
    this.#onClosedHook?.(this, undefined);
    this.#closed?.();
  }

  #setState(state: ChannelState): void {
    if (this.#state === state || this.#state === "shutdown") return;
    this.#state = state;
    this.#events?.emit("state", state);
  }

  // ------------------------------------------------------------------------------------------------ Serving

  /** @private */
  find(session: Session, path: string): ServedMethod | undefined {
    const bound = (this.#services ?? this.#inheritedServices)?.find(path);
    return bound && { session, bound, channel: this };
  }

  /** @private */
  accept(
    session: Session,
    target: unknown,
    path: string,
    metadata: ReceivedBlock | undefined,
  ): AcceptedStream {
    if (target === undefined) {
      // It may have been added since the peer first called it.
      const late = this.find(session, path);
      if (late !== undefined) return this.accept(session, late, path, metadata);
      const services = this.#services ?? this.#inheritedServices ?? NO_SERVICES;
      return new RefusedCall(session, Status.UNIMPLEMENTED, services.explain(path));
    }
    // A peer that makes and cancels calls in quick succession (CVE-2023-44487) must wait for its handlers.
    if (session.handlers >= 2 * this.limits.maxConcurrentStreams) {
      const text = `${session.handlers} handlers of this connection are still running, most of them cancelled`;
      return new RefusedCall(session, Status.RESOURCE_EXHAUSTED, text);
    }
    return ServerCall.take(target as ServedMethod, metadata);
  }

  // ------------------------------------------------------------------------------------------------ Calling

  #callFunction(method: MethodInfo): unknown {
    const { requestStream, responseStream } = method.definition;
    if (this.#interceptors.length > 0) {
      return (requests: unknown, options: CallOptions = NO_OPTIONS) => {
        const source = (requestStream ? requests : [requests]) as MessageSource<unknown>;
        const responses = this.#intercept(method, source, options);
        return responseStream ? responses : this.#onlyResponse(method, responses);
      };
    }
    const single = !requestStream;
    return responseStream
      ? (requests: unknown, options?: CallOptions) => this.#callForStream(method, requests, single, options)
      : (requests: unknown, options?: CallOptions) => this.#callForOne(method, requests, single, options);
  }

  #callForOne(
    method: MethodInfo,
    requests: unknown,
    single: boolean,
    options: CallOptions = NO_OPTIONS,
  ): Promise<unknown> {
    const session = this.#session;
    if (session?.ready === true && session.waitingStreams < this.limits.maxQueuedCalls) {
      return callForOne(session, method, requests, single, options);
    }
    const source = single ? undefined : new HeldSource(requests as MessageSource<unknown>);
    const ready = session?.ready === true ? Promise.reject(this.#tooManyWaiting()) : this.#whenReady(options);
    return ready.then(
      ({ session, expireAt }) =>
        session.ready
          ? callForOne(session, method, source ?? requests, single, options, expireAt)
          : // It has been lost again since.
            this.#callForOne(method, source ?? requests, single, this.#withExpiry(options, expireAt)),
      (error: RpcError) => {
        source?.end();
        throw error;
      },
    );
  }

  #callForStream(
    method: MethodInfo,
    requests: unknown,
    single: boolean,
    options: CallOptions = NO_OPTIONS,
    responses = new ResponseQueue(),
  ): AsyncIterable<unknown> {
    const wait = (options: CallOptions): void =>
      void this.#whenReady(options, responses).then(begin, (error: unknown) =>
        responses.end(RpcError.from(error), true),
      );
    const begin = ({ session, expireAt }: Ready): void => {
      if (responses.abandoned) return;
      responses.leave = undefined;
      // It has been lost again since.
      if (!session.ready) return wait(this.#withExpiry(options, expireAt));
      const call = new StreamResponseCall(session, method, responses);
      call.begin(requests, single ? undefined : (requests as MessageSource<unknown>), options, expireAt);
    };
    const session = this.#session;
    if (session?.ready === true && session.waitingStreams < this.limits.maxQueuedCalls) {
      begin({ session, expireAt: undefined });
      return responses.queue;
    }
    if (!single) requests = responses.requests = new HeldSource(requests as MessageSource<unknown>);
    if (session?.ready === true) responses.end(this.#tooManyWaiting(), true);
    else wait(options);
    return responses.queue;
  }

  #intercept(
    method: MethodInfo,
    source: MessageSource<unknown>,
    options: CallOptions,
  ): AsyncIterable<unknown> {
    const requests = new StoppableSource(source);
    const begin: Begin = (signal, deadline, onRest) =>
      this.#enter(method, requests, options, signal, deadline, onRest);
    return new InterceptedResponses(options, this.#clock, wheelOf(this.#clock), requests, begin);
  }

  /** Begin a call at the outermost interceptor. */
  #enter(
    method: MethodInfo,
    requests: AsyncIterable<unknown>,
    options: CallOptions,
    signal: AbortSignal,
    deadline: Date | undefined,
    onRest: () => void,
  ): Interception {
    const call: InterceptedCall = {
      side: "client",
      method,
      metadata: new Metadata(options.metadata),
      header: new Metadata(),
      trailer: new Metadata(),
      deadline,
      signal,
      context: undefined,
      requests,
    };
    const inner: ResponseQueue[] = [];
    let open = 0;
    let over = false;
    const last = ({ deadline, signal, metadata, requests }: InterceptedCall): AsyncIterable<unknown> => {
      let isOpen = true;
      const responses = new ResponseQueue(() => {
        if (isOpen) open--;
        isOpen = false;
        onRest();
      });
      open++;
      inner.push(responses);
      const inward: CallOptions = {
        deadline,
        signal,
        metadata,
        waitForReady: options.waitForReady,
        lendBytes: options.lendBytes,
        onHeader: (header) => {
          call.header.merge(header);
          // Headers that came by themselves are told at once: the caller may wait for them before it sends anything.
          queueMicrotask(() => {
            if (!isOpen || responses.hasRun) return;
            try {
              reports.onHeader();
            } catch (error) {
              responses.call!.reject(error as RpcError);
            }
          });
        },
        onTrailer: (trailer) => void call.trailer.merge(trailer),
      };
      return this.#callForStream(method, requests, false, inward, responses);
    };
    let headerTold = false;
    const reports = {
      onHeader() {
        if (over || headerTold) return;
        headerTold = true;
        tell(options.onHeader, call.header);
      },
      onTrailer() {
        if (!over) tell(options.onTrailer, call.trailer);
      },
    };
    return {
      responses: reporting(compose(this.#interceptors, last)(call), reports),
      get mayHaveRun() {
        return inner.length > 0;
      },
      get hasRun() {
        return open > 0 || inner.some((responses) => responses.hasRun);
      },
      get rests() {
        return inner.length > 0 && open === 0;
      },
      end() {
        over = true;
        for (const { queue } of inner) void queue.return();
      },
    };
  }

  #onlyResponse(method: MethodInfo, responses: AsyncIterable<unknown>): Promise<unknown> {
    const error = (text: string) => () =>
      new RpcError(Status.INTERNAL, `${method.path} gives one response; ${text}`, { mayHaveRun: true });
    return onlyMessage(responses, error("there was none"), error("there was another"));
  }

  /** The options of a call that goes on waiting, and expires when it would have. */
  #withExpiry(options: CallOptions, expireAt: number | undefined): CallOptions {
    if (expireAt === undefined) return options;
    return { ...options, timeoutMs: Math.max(0, expireAt - this.#clock.now()), deadline: undefined };
  }

  #tooManyWaiting(): RpcError {
    return new RpcError(
      Status.RESOURCE_EXHAUSTED,
      `${this.limits.maxQueuedCalls} calls are waiting already (limits.maxQueuedCalls)`,
    );
  }

  /**
   * A session that is ready for calls. Rejects when there is none to wait for, the call's time is up, or nobody wants its responses any
   * more.
   */
  #whenReady(options: CallOptions, responses?: ResponseQueue): Promise<Ready> {
    const session = this.#session;
    if (session?.ready === true) return Promise.resolve({ session, expireAt: undefined });
    if (this.#closing !== undefined) return Promise.reject(closedError());
    const patient = options.waitForReady ?? this.#waitForReady;
    if (this.#state === "shutdown" || (this.#state === "transient-failure" && !patient)) {
      const { code, message } = this.#lastError!;
      return Promise.reject(new RpcError(code, message, { cause: this.#lastError, mayHaveRun: false }));
    }
    if ((this.#waiting?.size ?? 0) >= this.limits.maxQueuedCalls)
      return Promise.reject(this.#tooManyWaiting());
    return new Promise((resolve, reject) => {
      const waiting = (this.#waiting ??= new Set());
      const waiter = new SessionWaiter(patient, wheelOf(this.#clock), resolve, reject, () =>
        waiting.delete(waiter),
      );
      waiting.add(waiter);
      waiter.start(options, this.#clock);
      if (responses !== undefined) responses.leave = () => waiter.reject(abandonedError());
    });
  }

  #refuseWaiting(error: RpcError, which: (waiter: SessionWaiter) => boolean): void {
    for (const waiter of [...(this.#waiting ?? [])]) {
      if (which(waiter)) waiter.reject(error);
    }
  }
}

/** A session that takes calls, and when the call that waited for it expires; undefined if it has no deadline, or did not wait. */
interface Ready {
  readonly session: Session;
  readonly expireAt: number | undefined;
}

/** A call that waits for a connection. */
class SessionWaiter implements Expiring {
  readonly #wheel: TimerWheel;
  readonly #resolve: (ready: Ready) => void;
  readonly #reject: (error: RpcError) => void;
  readonly #leave: () => void;
  #links: readonly CancelLink[] = [];
  #deadline: Deadline | undefined = undefined;

  constructor(
    /** Whether it outlasts failed attempts. */
    readonly patient: boolean,
    wheel: TimerWheel,
    resolve: (ready: Ready) => void,
    reject: (error: RpcError) => void,
    leave: () => void,
  ) {
    this.#wheel = wheel;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#leave = leave;
  }

  start(options: CallOptions, clock: Clock): void {
    try {
      const reason = alreadyCancelled(options);
      if (reason !== undefined) return this.onCancelled(reason);
      const expireAt = expiryOf(options, clock.now());
      if (expireAt !== undefined) this.#deadline = this.#wheel.add(this, expireAt);
      this.#links = listenForCancel(options, this);
    } catch (error) {
      this.reject(RpcError.from(error, Status.INTERNAL));
    }
  }

  resolve(session: Session): void {
    this.#end();
    this.#resolve({ session, expireAt: this.#deadline?.expireAt });
  }

  reject(error: RpcError): void {
    this.#end();
    this.#reject(error);
  }

  onDeadline(): void {
    this.reject(deadlineError(false));
  }

  onCancelled(reason: CancelReason): void {
    this.reject(new RpcError(reason.code, reason.text, { cause: reason.cause }));
  }

  #end(): void {
    this.#leave();
    if (this.#deadline !== undefined) this.#wheel.remove(this.#deadline);
    for (const link of this.#links) link.remove();
  }
}

const NO_SERVICES = new Registry([]);

function abandonedError(): RpcError {
  return new RpcError(Status.CANCELLED, "the caller wants no more responses");
}

function closedError(): RpcError {
  return new RpcError(Status.FAILED_PRECONDITION, "the channel has been closed; connect again to make calls");
}

/** What a callback throws ends its call. */
function tell(callback: ((metadata: Metadata) => void) | undefined, metadata: Metadata): void {
  try {
    callback?.(metadata);
  } catch (error) {
    throw RpcError.from(error, Status.CANCELLED);
  }
}

/** Tell the caller's `onHeader` and `onTrailer` what the interceptors left of them. */
async function* reporting(
  responses: AsyncIterable<unknown>,
  { onHeader, onTrailer }: { onHeader(): void; onTrailer(): void },
): AsyncGenerator<unknown> {
  try {
    for await (const response of responses) {
      onHeader();
      yield response;
    }
  } finally {
    onHeader();
    onTrailer();
  }
}

/** Throws INVALID_ARGUMENT for options of an endpoint that cannot be; limits are checked by `completeLimits`. */
export function checkEndpointOptions({ interceptors, keepalive }: EndpointOptions): void {
  if (
    interceptors !== undefined &&
    !(Array.isArray(interceptors) && interceptors.every((one) => typeof one === "function"))
  ) {
    throw invalidOption("interceptors", "must be an array of functions");
  }
  if (keepalive === undefined || keepalive === false) return;
  if (typeof keepalive !== "object" || keepalive === null) {
    throw invalidOption("keepalive", "must be false, or an object with intervalMs and timeoutMs");
  }
  for (const [name, value] of Object.entries(keepalive)) {
    if (!(name in DEFAULT_KEEPALIVE)) throw invalidOption(`keepalive.${name}`, "is no option");
    checkDelay(`keepalive.${name}`, value);
  }
}

function completeBackoff(backoff: Partial<Backoff> = {}): Backoff {
  for (const [name, value] of Object.entries(backoff)) {
    if (!(name in DEFAULT_BACKOFF)) throw invalidOption(`backoff.${name}`, "is no option");
    if (name === "jitter" || name === "factor") {
      const [least, most] = name === "jitter" ? [0, 1] : [1, 1000];
      if (typeof value !== "number" || !(value >= least && value <= most)) {
        throw invalidOption(`backoff.${name}`, `is ${String(value)}; give a number from ${least} to ${most}`);
      }
    } else checkDelay(`backoff.${name}`, value);
  }
  return { ...DEFAULT_BACKOFF, ...backoff };
}

/** What is wrong with the options of `close`, if anything is. */
export function closeError({ timeoutMs = DEFAULT_CLOSE_MS }: CloseOptions): RpcError | undefined {
  if (typeof timeoutMs === "number" && timeoutMs >= 0) return undefined;
  return invalidOption("timeoutMs", `is ${String(timeoutMs)}; give milliseconds, 0 or more`);
}

function checkDelay(name: string, value: unknown): void {
  if (typeof value !== "number" || !(value > 0 && value <= MAX_DELAY_MS)) {
    throw invalidOption(name, `is ${String(value)}; give a number above 0`);
  }
}

function invalidOption(name: string, what: string): RpcError {
  return new RpcError(Status.INVALID_ARGUMENT, `${name} ${what}`);
}
