/** The serving side of calls. */
import { Cancellation, toError, type CancelReason } from "./cancellation.js";
import type { Channel } from "./channel.js";
import type { MessageCodec, MessageSource } from "./definition.js";
import { RpcError } from "./error.js";
import { compose, onlyMessage, type InterceptedCall, type Interceptor } from "./interceptor.js";
import { isSource, MessagePump, type Sink } from "./message-pump.js";
import { MessageQueue, type QueueOwner } from "./message-queue.js";
import { encodingError, type MethodInfo } from "./method.js";
import type { ReceivedBlock } from "./metadata-block.js";
import { Metadata, type MetadataValue } from "./metadata.js";
import type { AcceptedStream, Session } from "./session.js";
import { Status } from "./status.js";
import { StoppableSource } from "./stoppable-source.js";
import { Mark, OK, Stream, type Ending } from "./stream.js";
import { Deadline } from "./timer-wheel.js";
import type { LargeFrame, Peer } from "./transport.js";

/** What a handler is told of its call, and how it answers beside its messages. Valid until the handler settles. */
export interface ServerContext {
  /** `package.Service/Method`. */
  readonly method: string;
  /** Aborted when the call is cancelled, its deadline passes or the connection ends. Made when first read. */
  readonly signal: AbortSignal;
  /** When the caller gives up, if it said. */
  readonly deadline: Date | undefined;
  /** What the caller sent with the call. */
  readonly metadata: Metadata;
  /** What the kernel vouches for about the caller. */
  readonly peer: Peer;
  /** The way back: calls made here go to the caller, over the same connection. */
  readonly channel: Channel;
  /** Add to the response's headers, which leave with the first message. Throws FAILED_PRECONDITION after that. */
  setHeader(name: string, value: MetadataValue): void;
  /** Send the headers now, before any message. Throws FAILED_PRECONDITION if they have been sent. */
  sendHeader(): void;
  /** Add to the response's trailers, which leave with the status. Throws FAILED_PRECONDITION after that. */
  setTrailer(name: string, value: MetadataValue): void;
}

/** A method and the function that serves it. */
export interface BoundMethod {
  readonly info: MethodInfo;
  readonly handler: (request: unknown, context: ServerContext) => unknown;
  readonly interceptors: readonly Interceptor[];
  /** See `ServiceOptions`. */
  readonly lendBytes: boolean;
}

/** What the calls of one method on one session have in common. */
export interface ServedMethod {
  readonly session: Session;
  readonly bound: BoundMethod;
  /** The way back to the caller. */
  readonly channel: Channel;
}

/** Decodes nothing: the requests of a method that does not exist are dropped. */
const NO_CODEC = {
  encode: (): never => {
    throw new Error("nothing is sent on a call that is not served");
  },
  decode: (): undefined => undefined,
};

/** The call behind a context. */
export function contextCall(context: ServerContext): ServerCall {
  if (!(context instanceof CallContext)) {
    throw new RpcError(Status.INVALID_ARGUMENT, "parent must be the context that a handler was given");
  }
  return context.call;
}

/** A call that is refused at once: no handler runs, and the caller is told so. */
export class RefusedCall extends Stream implements AcceptedStream {
  readonly #code: Status;
  readonly #text: string;

  constructor(session: Session, code: Status, text: string) {
    super(session, 0);
    this.#code = code;
    this.#text = text;
  }

  override get inputCodec(): MessageCodec<unknown> {
    return NO_CODEC;
  }

  begin(): void {
    this.session.reset(this, this.#code, this.#text, true);
  }

  override onMessage(_message: unknown, cost: number): void {
    this.session.consume(this, cost);
  }
  override onHeaders(): void {}
  override onHalfClose(): void {}
  override onStatus(): void {}
  override onFailure(): void {}
  override onSendable(): void {}
  override onDeadline(): void {}
}

function marksOf({ bound }: ServedMethod): number {
  return bound.lendBytes ? Mark.Lends : 0;
}

/** A call that a handler serves. */
export class ServerCall extends Stream implements AcceptedStream, QueueOwner, Sink {
  #served: ServedMethod;
  #context: CallContext | undefined = undefined;
  #cancellation: Cancellation | undefined = undefined;
  /** What came with the call, until somebody looks at it. */
  #metadata: ReceivedBlock | Metadata | undefined;
  header: Metadata | undefined = undefined;
  trailer: Metadata | undefined = undefined;
  #requests: MessageQueue<unknown> | undefined = undefined;
  /** What was lent with the one request. */
  #loan: LargeFrame | undefined = undefined;
  #pump: MessagePump | undefined = undefined;

  static take(served: ServedMethod, metadata: ReceivedBlock | undefined): ServerCall {
    const call = served.session.spareServerCalls.pop() as ServerCall | undefined;
    if (call === undefined) return new ServerCall(served, metadata);
    call.renew(marksOf(served));
    call.#served = served;
    call.#metadata = metadata;
    return call;
  }

  /** A call whose object has become another's, for those who look at it later. */
  static over(served: ServedMethod, remains: Remains | undefined): ServerCall {
    const call = new ServerCall(served, remains?.metadata);
    call.mark(Mark.Started | Mark.HeadersDone | Mark.ResponseDone | Mark.Settled);
    call.#cancellation = remains?.cancellation;
    if (remains?.expireAt !== undefined) call.deadline = new Deadline(call, remains.expireAt);
    return call;
  }

  constructor(served: ServedMethod, metadata: ReceivedBlock | Metadata | undefined) {
    super(served.session, marksOf(served));
    this.#served = served;
    this.#metadata = metadata;
  }

  get bound(): BoundMethod {
    return this.#served.bound;
  }

  get channel(): Channel {
    return this.#served.channel;
  }

  override get inputCodec(): MessageCodec<unknown> {
    return this.bound.info.definition.requestType;
  }

  get metadata(): Metadata {
    const metadata = this.#metadata;
    if (metadata instanceof Metadata) return metadata;
    return (this.#metadata = metadata === undefined ? new Metadata() : Metadata.fromBlock(metadata));
  }

  /** For calls that the handler makes with `parent: context`, and its signal. Made for the first of them. */
  get cancellation(): Cancellation {
    return (this.#cancellation ??= new Cancellation());
  }

  /** Why the call was cancelled, once it was. */
  get cancelled(): CancelReason | undefined {
    return this.#cancellation?.reason;
  }

  begin(): void {
    this.session.handlers++;
    if (!this.bound.info.definition.requestStream) return;
    this.#requests = new MessageQueue(this);
    this.#run(this.#requests);
  }

  // The session.

  override onMessage(message: unknown, cost: number, loan: LargeFrame | undefined): void {
    if (this.#requests !== undefined) return this.#requests.push(message, cost, loan);
    this.session.consume(this, cost);
    if (this.is(Mark.Started)) {
      loan?.release();
      const error = new RpcError(Status.INTERNAL, `${this.bound.info.path} takes one request; another came`);
      this.#finish(error);
      return this.#cancel({ code: error.code, text: error.message, cause: error });
    }
    this.#loan = loan;
    this.#run(message);
  }

  override onHalfClose(): void {
    if (this.#requests !== undefined) this.#requests.end();
    else if (!this.is(Mark.Started)) {
      this.#finish(new RpcError(Status.INTERNAL, `${this.bound.info.path} takes one request; none came`));
      this.#handlerDone();
    }
  }

  override onFailure(code: Status, text: string, _mayHaveRun: boolean, cause?: unknown): void {
    if (this.is(Mark.ResponseDone)) return;
    // What came cannot be taken: the caller is told; else the caller is gone, or has cancelled.
    if (!this.is(Mark.ReceivedEnd | Mark.ResetPending) && !this.session.closed) {
      this.#finish(new RpcError(code, text, { cause }));
    }
    this.#cancel({ code, text: text === "" ? "the caller cancelled the call" : text, cause });
    if (!this.is(Mark.Started)) this.#handlerDone();
  }

  override onDeadline(): void {
    const text = "the call's deadline has passed";
    this.#finish(new RpcError(Status.DEADLINE_EXCEEDED, text));
    this.#cancel({ code: Status.DEADLINE_EXCEEDED, text, cause: undefined });
    if (!this.is(Mark.Started)) this.#handlerDone();
  }

  override onSendable(): void {
    this.#pump?.resume();
  }

  override onHeaders(): void {
    throw new Error("only the acceptor sends headers");
  }

  override onStatus(): void {
    throw new Error("only the acceptor sends a status");
  }

  // The request queue.

  onConsumed(cost: number): void {
    if (this.unconsumed >= cost) this.session.consume(this, cost);
  }

  onAbandoned(): void {
    // The handler reads no more. What still comes fills the stream's window, and waits for the handler's end.
  }

  // The response pump.

  send(message: unknown): boolean {
    if (this.is(Mark.ResponseDone)) return false;
    if (!this.is(Mark.HeadersDone)) this.#sendHeader();
    try {
      return this.session.send(this, this.bound.info.definition.responseType, message);
    } catch (error) {
      throw encodingError(error, "a response", this.bound.info);
    }
  }

  onSourceEnd(): void {
    this.#finish(undefined);
  }

  onSourceError(error: unknown): void {
    this.#finish(error ?? new Error("the handler failed with no reason given"));
  }

  onSourceClosed(): void {
    this.#handlerDone();
  }

  /** Harmless once the call is over. */
  sendHeader(): void {
    if (this.is(Mark.ResponseDone)) return;
    this.header ??= new Metadata();
    this.#sendHeader();
  }

  #sendHeader(): void {
    this.mark(Mark.HeadersDone);
    if (this.header !== undefined) this.session.sendHeaders(this, this.header);
  }

  /** Run the handler with its request, or its queue of requests. */
  #run(request: unknown): void {
    this.mark(Mark.Started);
    const { bound } = this;
    const context = (this.#context = new CallContext(this, this.#served));
    try {
      if (bound.interceptors.length > 0) {
        return this.#stream(this.#intercepted(request, context));
      }
      const result = bound.handler(request, context);
      const streams = bound.info.definition.responseStream;
      // There are sources that can be awaited, too, for their end.
      if (streams && isSource(result)) this.#stream(result);
      else if (result instanceof Promise || typeof (result as PromiseLike<unknown>)?.then === "function") {
        ResponseWaiter.take().wait(this, result as PromiseLike<unknown>);
      } else this.onResponse(result);
    } catch (error) {
      this.onHandlerError(error);
    }
  }

  // What the handler has returned, or promised.

  onResponse(response: unknown): void {
    if (this.bound.info.definition.responseStream) return this.#stream(response);
    this.#respond(response);
    this.#settled();
  }

  #stream(source: unknown): void {
    if (!isSource(source)) {
      return this.onHandlerError(noStreamError(this.bound.info, source));
    }
    let pump: MessagePump;
    try {
      pump = this.#pump = new MessagePump(source, this);
    } catch (error) {
      return this.onHandlerError(error);
    }
    if (this.is(Mark.ResponseDone)) pump.stop();
    else pump.resume();
  }

  onHandlerError(error: unknown): void {
    this.onSourceError(error);
    this.#settled();
  }

  #settled(): void {
    this.#handlerDone();
    // A handler that answers at once does so before the session is done with its request.
    if (this.isReleased) this.onReleased();
  }

  /** Another call may be this object, unless a queue or a pump may still refer to it. What the handler may still look at stays its own. */
  override onReleased(): void {
    const metadata = this.#metadata;
    const cancellation = this.#cancellation;
    const expireAt = this.deadline?.expireAt;
    const streams = this.#requests !== undefined || this.#pump !== undefined;
    if (streams || !this.retireTo(this.session.spareServerCalls)) return;
    const plain = metadata === undefined && cancellation === undefined && expireAt === undefined;
    this.#context?.leave(plain ? undefined : new Remains(metadata, cancellation, expireAt));
    this.#context = this.#metadata = this.#cancellation = this.#loan = undefined;
    this.header = this.trailer = undefined;
  }

  #intercepted(request: unknown, context: CallContext): AsyncIterable<unknown> {
    const { bound, cancellation } = this;
    const { definition, path } = bound.info;
    /** What ends when the call is cancelled, whatever the interceptors do. */
    const stoppable = (source: MessageSource<unknown>): StoppableSource => {
      const stopping = new StoppableSource(source);
      if (cancellation.reason === undefined) cancellation.add(stopping);
      else stopping.onCancelled(cancellation.reason);
      return stopping;
    };
    const call: InterceptedCall = {
      side: "server",
      method: bound.info,
      metadata: context.metadata,
      header: (this.header ??= new Metadata()),
      trailer: (this.trailer ??= new Metadata()),
      deadline: context.deadline,
      signal: cancellation.signal,
      context,
      requests: definition.requestStream ? (request as AsyncIterable<unknown>) : once(request),
    };
    return compose(bound.interceptors, async function* (inner) {
      const input = definition.requestStream
        ? inner.requests
        : await onlyMessage(
            inner.requests,
            () => new RpcError(Status.INTERNAL, `an interceptor gave ${path} no request`),
            () => new RpcError(Status.INTERNAL, `an interceptor gave ${path} more than one request`),
          );
      const result = bound.handler(input, context);
      if (!definition.responseStream) yield await result;
      else {
        const source: unknown = isSource(result) ? result : await result;
        if (!isSource(source)) throw noStreamError(bound.info, source);
        yield* stoppable(source);
      }
    })(call);
  }

  /** The response of a handler that gives one. */
  #respond(response: unknown): void {
    if (this.is(Mark.ResponseDone)) return;
    try {
      if (response === undefined || response === null) {
        throw new RpcError(Status.INTERNAL, `the handler of ${this.bound.info.path} returned no response`);
      }
      if (!this.is(Mark.HeadersDone)) this.#sendHeader();
      const ending = this.trailer === undefined ? OK : { ...OK, trailers: this.trailer };
      this.session.end(this, ending, this.bound.info.definition.responseType, response);
      this.mark(Mark.ResponseDone);
      this.#requests?.fail(overError());
    } catch (error) {
      this.#finish(encodingError(error, "the response", this.bound.info));
    }
  }

  /** End the call: well, or with `error`. */
  #finish(error: unknown): void {
    if (this.is(Mark.ResponseDone)) return;
    this.mark(Mark.ResponseDone);
    try {
      if (!this.is(Mark.HeadersDone)) this.#sendHeader();
      this.session.end(this, endingOf(error, this.trailer));
    } catch (failure) {
      // Headers, trailers or details are too large, or not to be encoded: the caller learns that instead.
      const { code, message } = RpcError.from(failure, Status.INTERNAL);
      this.session.end(this, { code, text: message, details: [], trailers: undefined });
    }
    this.#pump?.stop();
    this.#requests?.fail(overError());
  }

  #cancel(reason: CancelReason): void {
    if (this.cancelled !== undefined) return;
    this.mark(Mark.ResponseDone);
    this.cancellation.reason = reason;
    this.#requests?.fail(toError(reason));
    this.#pump?.stop();
    this.cancellation.cancel(reason);
  }

  /** The handler has settled: one fewer counts against the connection's limit, and what it was lent ends. */
  #handlerDone(): void {
    if (this.is(Mark.Settled)) return;
    this.mark(Mark.Settled);
    this.session.handlers--;
    this.#loan?.release();
    this.#requests?.release();
  }
}

/** Waits for what a handler promised, for one call after another: closures for each would be half of what a call allocates. */
class ResponseWaiter {
  #call: ServerCall | undefined = undefined;
  readonly #onResponse = (response: unknown): void => this.#release().onResponse(response);
  readonly #onError = (error: unknown): void => this.#release().onHandlerError(error);

  static take(): ResponseWaiter {
    return freeWaiters.pop() ?? new ResponseWaiter();
  }

  wait(call: ServerCall, promised: PromiseLike<unknown>): void {
    this.#call = call;
    // As `await` does it: a `then` of the user's might call back twice, when this waits for another call already.
    void then.call(Promise.resolve(promised), this.#onResponse, this.#onError);
  }

  #release(): ServerCall {
    const call = this.#call!;
    this.#call = undefined;
    if (freeWaiters.length < MAX_FREE_WAITERS) freeWaiters.push(this);
    return call;
  }
}

const { then } = Promise.prototype;
const freeWaiters: ResponseWaiter[] = [];
const MAX_FREE_WAITERS = 1024;

/** What a context may still be asked for when the call's object has become another's. */
class Remains {
  constructor(
    readonly metadata: ReceivedBlock | Metadata | undefined,
    readonly cancellation: Cancellation | undefined,
    /** On the session's clock. */
    readonly expireAt: number | undefined,
  ) {}
}

class CallContext implements ServerContext {
  /** The call, or what is left of it. */
  #call: ServerCall | Remains | undefined;
  readonly #served: ServedMethod;

  constructor(call: ServerCall, served: ServedMethod) {
    this.#call = call;
    this.#served = served;
  }

  get call(): ServerCall {
    if (this.#call instanceof ServerCall) return this.#call;
    return (this.#call = ServerCall.over(this.#served, this.#call));
  }

  /** The call is over, and its object will be another's. */
  leave(remains: Remains | undefined): void {
    this.#call = remains;
  }

  get method(): string {
    return this.call.bound.info.path;
  }

  get signal(): AbortSignal {
    return this.call.cancellation.signal;
  }

  get deadline(): Date | undefined {
    const expireAt = this.call.deadline?.expireAt;
    return expireAt === undefined
      ? undefined
      : new Date(Date.now() + expireAt - this.call.session.clock.now());
  }

  get metadata(): Metadata {
    return this.call.metadata;
  }

  get peer(): Peer {
    return this.call.session.connection.peer;
  }

  get channel(): Channel {
    return this.call.channel;
  }

  setHeader(name: string, value: MetadataValue): void {
    this.#check(this.call.is(Mark.HeadersDone), "headers");
    (this.call.header ??= new Metadata()).append(name, value);
  }

  sendHeader(): void {
    this.#check(this.call.is(Mark.HeadersDone), "headers");
    this.call.sendHeader();
  }

  setTrailer(name: string, value: MetadataValue): void {
    this.#check(false, "trailers");
    (this.call.trailer ??= new Metadata()).append(name, value);
  }

  #check(sent: boolean, what: string): void {
    // After a cancellation nobody will see them, which is no mistake of the handler's.
    if ((sent || this.call.is(Mark.ResponseDone)) && this.call.cancelled === undefined) {
      throw new RpcError(Status.FAILED_PRECONDITION, `the ${what} of ${this.method} have been sent already`);
    }
  }
}

/** Of a handler, or an interceptor, that should have returned a stream. */
function noStreamError({ path }: MethodInfo, returned: unknown): RpcError {
  return new RpcError(
    Status.INTERNAL,
    `the handler of ${path}, or an interceptor, returned no stream: ` +
      `it must be an AsyncIterable, an Iterable or an Observable, not ${returned === null ? "null" : typeof returned}`,
  );
}

/** What a handler is told that reads on after its response: not that there were no more requests. */
function overError(): RpcError {
  return new RpcError(Status.CANCELLED, "the call is over");
}

function endingOf(error: unknown, trailer: Metadata | undefined): Ending {
  if (error === undefined) return trailer === undefined ? OK : { ...OK, trailers: trailer };
  const { code, message, details, metadata } = RpcError.from(error);
  let trailers = trailer;
  if (metadata !== undefined && metadata.size > 0) {
    // Another copy's error has metadata of its own, too.
    trailers = trailer === undefined ? Metadata.from(metadata) : trailer.clone().merge(metadata);
  }
  // An error with status OK would tell the caller that all went well, and one with no status at all that this end is broken.
  const known = Number.isInteger(code) && code > Status.OK && code <= Status.UNAUTHENTICATED;
  return { code: known ? code : Status.UNKNOWN, text: message, details, trailers };
}

async function* once(message: unknown): AsyncGenerator<unknown> {
  yield message;
}
