/** The calling side of calls. */
import {
  abortReason,
  checkSignal,
  sourceOf,
  type Cancellable,
  type CancelLink,
  type CancelReason,
} from "./cancellation.js";
import type { MessageCodec, MessageSource } from "./definition.js";
import { RpcError } from "./error.js";
import { MessagePump, type HeldSource, type Sink } from "./message-pump.js";
import { MessageQueue, type QueueOwner } from "./message-queue.js";
import { encodingError, type MethodInfo } from "./method.js";
import { keepMetadata } from "./metadata-block.js";
import { MetadataEncoder } from "./metadata-encoder.js";
import { Metadata, type MetadataInit } from "./metadata.js";
import { contextCall, type ServerContext } from "./server-call.js";
import type { Session } from "./session.js";
import { Status } from "./status.js";
import { Mark, Stream, type Ending, type Opening } from "./stream.js";
import type { LargeFrame } from "./transport.js";

/** Options of one call. */
export interface CallOptions {
  /** Fail with DEADLINE_EXCEEDED this many milliseconds from now. */
  readonly timeoutMs?: number | undefined;
  /** Fail with DEADLINE_EXCEEDED at this time (a Date, or milliseconds since the epoch). The earlier of the two counts. */
  readonly deadline?: Date | number | undefined;
  /** Cancels the call when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Sent with the call. */
  readonly metadata?: MetadataInit | undefined;
  /** The handler's context that this call is made for: its deadline, and its cancellation, become this call's too. */
  readonly parent?: ServerContext | undefined;
  /** Wait for a connection instead of failing with UNAVAILABLE while there is none. Default: the channel's. */
  readonly waitForReady?: boolean | undefined;
  /**
   * Of a call with a stream of responses: take `bytes` fields of 64 KiB and more as views of the transport's memory, where it has
   * any to lend (`shm:`), instead of copies. A view loses its bytes when the next response is taken, when the iteration ends, and
   * when the connection does; until then the peer can still change them.
   */
  readonly lendBytes?: boolean | undefined;
  /** Called once with the response's headers, before its first message (or before the end, if there is none). */
  readonly onHeader?: ((header: Metadata) => void) | undefined;
  /** Called once with the response's trailers, before the call settles. */
  readonly onTrailer?: ((trailer: Metadata) => void) | undefined;
}

export const NO_OPTIONS: CallOptions = {};

/** When the call of `options` expires on the session clock's time, which is `now`; undefined for never. */
export function expiryOf(options: CallOptions, now: number): number | undefined {
  const { timeoutMs, deadline, parent } = options;
  let expireAt: number | undefined = undefined;
  if (timeoutMs !== undefined) {
    if (typeof timeoutMs !== "number" || !(timeoutMs >= 0)) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `timeoutMs is ${String(timeoutMs)}; give milliseconds, 0 or more`,
      );
    }
    if (timeoutMs !== Infinity) expireAt = now + timeoutMs;
  }
  if (deadline !== undefined) {
    const at = +deadline;
    if (Number.isNaN(at)) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        "deadline is not a time; give a Date or milliseconds since the epoch",
      );
    }
    if (at !== Infinity) expireAt = Math.min(expireAt ?? Infinity, now + at - Date.now());
  }
  const inherited = parent === undefined ? undefined : contextCall(parent).deadline?.expireAt;
  if (inherited !== undefined) expireAt = Math.min(expireAt ?? Infinity, inherited);
  return expireAt;
}

export function deadlineError(mayHaveRun: boolean): RpcError {
  return new RpcError(Status.DEADLINE_EXCEEDED, "the call's deadline has passed", { mayHaveRun });
}

/** The reason for which a call of `options` must not even begin; undefined if it may. Throws INVALID_ARGUMENT for what is no signal. */
export function alreadyCancelled(options: CallOptions): CancelReason | undefined {
  const { signal } = options;
  if (signal !== undefined) {
    checkSignal(signal);
    if (signal.aborted) return abortReason(signal);
  }
  return options.parent === undefined ? undefined : contextCall(options.parent).cancelled;
}

const NO_LINKS: readonly CancelLink[] = [];

/** Make `target` hear of cancellation by the signal and the parent of `options`. */
export function listenForCancel({ signal, parent }: CallOptions, target: Cancellable): readonly CancelLink[] {
  const bySignal = signal === undefined ? undefined : sourceOf(signal).add(target);
  if (parent === undefined) return bySignal === undefined ? NO_LINKS : [bySignal];
  const byParent = contextCall(parent).cancellation.add(target);
  return bySignal === undefined ? [byParent] : [bySignal, byParent];
}

function cannotLend({ path }: MethodInfo): RpcError {
  return new RpcError(
    Status.INVALID_ARGUMENT,
    `lendBytes is for streams of responses: nothing says when the user of the one response of ${path} is done with it`,
  );
}

/** What calls have that were given options which outlast their beginning, or a source of requests. */
class Extras {
  /** Membership in what may cancel the call. */
  links = NO_LINKS;

  constructor(
    readonly options: CallOptions,
    readonly pump: MessagePump | undefined,
  ) {}
}

/** Whether a call of `options` has to do with them again after it has begun. */
function isFollowed({ signal, parent, onHeader, onTrailer }: CallOptions): boolean {
  return signal !== undefined || parent !== undefined || onHeader !== undefined || onTrailer !== undefined;
}

/** What both kinds of response share. */
abstract class ClientCall extends Stream implements Cancellable, Sink {
  #extras: Extras | undefined = undefined;
  #method: MethodInfo;

  constructor(session: Session, method: MethodInfo) {
    super(session, Mark.Opener);
    this.#method = method;
  }

  /** Be the session's for another call, after one that is over; or not, if there is somebody else who refers to this one. */
  protected leaveTo(spares: Stream[]): boolean {
    if (this.#extras?.pump !== undefined || !this.retireTo(spares)) return false;
    this.#extras = undefined;
    return true;
  }

  protected renewFor(method: MethodInfo): void {
    this.renew(Mark.Opener);
    this.#method = method;
  }

  override get inputCodec(): MessageCodec<unknown> {
    return this.#method.definition.responseType;
  }

  /**
   * Begin the call. With `source` the requests are drawn from it; else `request` is the only one. `expireAt`: when the call
   * expires, on the session's clock, if it was made before it could begin; else that follows from `options`. Never throws.
   */
  begin(
    request: unknown,
    source: MessageSource<unknown> | HeldSource | undefined,
    options: CallOptions,
    expireAt?: number,
  ): void {
    const { session } = this;
    const method = this.#method;
    let encoder: MetadataEncoder | undefined = undefined;
    let encoding = false;
    try {
      // First, since a source is told to stop also when the call is not to begin.
      if (source !== undefined || (options !== NO_OPTIONS && isFollowed(options))) {
        const pump = source === undefined ? undefined : new MessagePump(source, this);
        this.#extras = new Extras(options, pump);
      }
      let opening: Opening = method.plainOpening;
      if (options !== NO_OPTIONS) {
        let metadata: Uint8Array | undefined = undefined;
        const reason = alreadyCancelled(options);
        if (reason !== undefined)
          return this.#fail(new RpcError(reason.code, reason.text, { cause: reason.cause }));
        if (options.lendBytes === true) {
          if (!method.definition.responseStream) return this.#fail(cannotLend(method));
          this.mark(Mark.Lends);
        }
        if (options.metadata instanceof Metadata) metadata = options.metadata.block;
        else if (options.metadata !== undefined) {
          encoder = MetadataEncoder.take();
          metadata = encoder.encode(options.metadata);
        }
        let remainingMs = 0;
        if (
          expireAt !== undefined ||
          options.timeoutMs !== undefined ||
          options.deadline !== undefined ||
          options.parent !== undefined
        ) {
          const now = session.clock.now();
          expireAt ??= expiryOf(options, now);
          if (expireAt !== undefined) remainingMs = expireAt - now;
          if (expireAt !== undefined && remainingMs <= 0) return this.#fail(deadlineError(false));
        }
        opening = { path: method.path, expireAt, remainingMs, metadata };
      }
      this.opening = opening;
      encoding = true;
      if (source === undefined) session.open(this, method.definition.requestType, request, true);
      else session.open(this, undefined, undefined, false);
      encoding = false;
      if (encoder !== undefined) {
        // What has to wait cannot be left in the memory of the encoder.
        if (this.opening !== undefined)
          this.opening = { ...opening, metadata: keepMetadata(opening.metadata!) };
        encoder.release();
      }
      // Encoding may have run user code that ended the session, or cancelled.
      if (this.is(Mark.Settled)) return;
      if (opening.expireAt !== undefined) this.expireAt(opening.expireAt);
      if (options.signal !== undefined || options.parent !== undefined) {
        const reason = alreadyCancelled(options);
        if (reason !== undefined) return this.onCancelled(reason);
        this.#extras!.links = listenForCancel(options, this);
      }
    } catch (error) {
      // Also of what the peer has heard of already.
      return this.reject(
        encoding ? encodingError(error, "the request", method) : RpcError.from(error, Status.INTERNAL),
      );
    }
    this.#extras?.pump?.resume();
  }

  // The request pump.

  send(message: unknown): boolean {
    if (this.is(Mark.Settled)) return false;
    try {
      return this.session.send(this, this.#method.definition.requestType, message);
    } catch (error) {
      throw encodingError(error, "a request", this.#method);
    }
  }

  onSourceEnd(): void {
    if (!this.is(Mark.Settled)) this.session.halfClose(this);
  }

  onSourceClosed(): void {
    // The call's own end is what counts here.
  }

  onSourceError(error: unknown): void {
    this.reject(RpcError.from(error, Status.CANCELLED));
  }

  override onSendable(): void {
    this.#extras?.pump?.resume();
  }

  // The session.

  override onHeaders(metadata: Metadata): void {
    this.report(this.#extras?.options.onHeader, metadata);
  }

  override onHalfClose(): void {
    throw new Error("only the opener half-closes");
  }

  override onStatus(ending: Ending): void {
    if (this.is(Mark.Settled)) return;
    const { onHeader, onTrailer } = this.#extras?.options ?? NO_OPTIONS;
    if (onHeader !== undefined && !this.is(Mark.ReceivedHeaders)) this.report(onHeader, new Metadata());
    if (onTrailer !== undefined) this.report(onTrailer, ending.trailers ?? new Metadata());
    if (this.is(Mark.Settled)) return; // a callback threw
    const { code, text, details, trailers: metadata } = ending;
    if (code !== Status.OK) {
      return this.#fail(new RpcError(code, text, { details, metadata, mayHaveRun: true }), true);
    }
    this.#settle();
    this.succeed();
  }

  override onFailure(code: Status, text: string, mayHaveRun: boolean, cause?: unknown): void {
    this.#fail(new RpcError(code, text, { mayHaveRun, cause }), true);
  }

  override onDeadline(): void {
    const error = deadlineError(this.wasOpened);
    this.session.reset(this, error.code, "");
    this.#fail(error);
  }

  onCancelled(reason: CancelReason): void {
    if (this.is(Mark.Settled)) return;
    const { code, text, cause } = reason;
    const error = new RpcError(code, text, { cause, mayHaveRun: this.wasOpened });
    this.session.reset(this, code, "");
    this.#fail(error);
  }

  /** Cancel the call because its consumer wants no more of it. */
  abandon(): void {
    if (!this.is(Mark.Settled)) this.#settle();
    this.session.reset(this, Status.CANCELLED, "");
  }

  protected abstract succeed(): void;
  /** `afterMessages`: messages that have arrived come before the error. */
  protected abstract fail(error: RpcError, afterMessages: boolean): void;

  /** End the call with an error of this side. Harmless when it is over. */
  reject(error: RpcError): void {
    if (this.is(Mark.Settled)) return;
    const { code, message, details, metadata } = error;
    const mayHaveRun = this.wasOpened;
    this.session.reset(this, Status.CANCELLED, message);
    this.#fail(
      mayHaveRun === error.mayHaveRun
        ? error
        : new RpcError(code, message, { details, metadata, mayHaveRun, cause: error }),
    );
  }

  #fail(error: RpcError, afterMessages = false): void {
    if (this.is(Mark.Settled)) return;
    this.#settle();
    this.fail(error, afterMessages);
  }

  #settle(): void {
    this.mark(Mark.Settled);
    if (this.#extras === undefined) return;
    for (const link of this.#extras.links) link.remove();
    this.#extras.pump?.stop();
  }

  /** Tell the user's callback; what it throws ends the call rather than the connection. */
  private report(callback: ((metadata: Metadata) => void) | undefined, metadata: Metadata): void {
    if (callback === undefined || this.is(Mark.Settled)) return;
    try {
      callback(metadata);
    } catch (error) {
      this.reject(RpcError.from(error, Status.CANCELLED));
    }
  }
}

let capturedResolve: (value: unknown) => void;
let capturedReject: (error: RpcError) => void;
/** One function for all calls: no closure per call. */
function capture(resolve: (value: unknown) => void, reject: (error: RpcError) => void): void {
  capturedResolve = resolve;
  capturedReject = reject;
}

/** Make a call with one response: of the one request `requests`, or else (not `single`) of all that are drawn from it. */
export function callForOne(
  session: Session,
  method: MethodInfo,
  requests: unknown,
  single: boolean,
  options: CallOptions,
  expireAt?: number,
): Promise<unknown> {
  const promise = new Promise(capture);
  const call = SingleResponseCall.take(session, method, capturedResolve, capturedReject);
  call.begin(requests, single ? undefined : (requests as MessageSource<unknown>), options, expireAt);
  return promise;
}

/** The response while there is none. */
const NO_RESPONSE = Symbol("no response");
const nobody = (): void => {};

/** A call with one response: it settles a promise. */
class SingleResponseCall extends ClientCall {
  #resolve: (value: unknown) => void;
  #reject: (error: RpcError) => void;
  #response: unknown = NO_RESPONSE;

  static take(
    session: Session,
    method: MethodInfo,
    resolve: (value: unknown) => void,
    reject: (error: RpcError) => void,
  ): SingleResponseCall {
    const call = session.spareCalls.pop() as SingleResponseCall | undefined;
    if (call === undefined) return new SingleResponseCall(session, method, resolve, reject);
    call.renewFor(method);
    call.#resolve = resolve;
    call.#reject = reject;
    return call;
  }

  constructor(
    session: Session,
    method: MethodInfo,
    resolve: (value: unknown) => void,
    reject: (error: RpcError) => void,
  ) {
    super(session, method);
    this.#resolve = resolve;
    this.#reject = reject;
  }

  override onMessage(message: unknown, cost: number): void {
    this.session.consume(this, cost);
    if (this.#response === NO_RESPONSE) this.#response = message;
    else this.reject(new RpcError(Status.INTERNAL, "the peer sent a second response"));
  }

  protected override succeed(): void {
    if (this.#response !== NO_RESPONSE) this.#resolve(this.#response);
    else
      this.fail(
        new RpcError(Status.INTERNAL, "the peer ended the call without a response", { mayHaveRun: true }),
      );
  }

  protected override fail(error: RpcError): void {
    this.#reject(error);
  }

  override onReleased(): void {
    if (!this.leaveTo(this.session.spareCalls)) return;
    this.#response = NO_RESPONSE;
    this.#resolve = this.#reject = nobody;
  }
}

/** A call with many responses. They go to a queue that its user iterates. */
export class StreamResponseCall extends ClientCall {
  readonly #responses: ResponseQueue;

  constructor(session: Session, method: MethodInfo, responses: ResponseQueue) {
    super(session, method);
    this.#responses = responses;
    responses.call = this;
  }

  override onMessage(message: unknown, cost: number, loan: LargeFrame | undefined): void {
    this.#responses.hasRun = true;
    this.#responses.queue.push(message, cost, loan);
  }

  protected override succeed(): void {
    this.#responses.end(undefined, true);
  }

  protected override fail(error: RpcError, afterMessages: boolean): void {
    this.#responses.end(error, afterMessages);
  }
}

/** A call of somebody who waits for it: its responses and its end are looked at, not told. */
export class SyncCall extends ClientCall {
  /** Nothing will be received any more. */
  ended = false;
  /** Why it ended early; what was received before comes first. */
  error: RpcError | undefined = undefined;
  /** How many messages have been received, taken or not. */
  received = 0;
  #messages: { readonly message: unknown; readonly cost: number; readonly loan: LargeFrame | undefined }[] =
    [];
  /** What was lent with the message that was taken last. */
  #loan: LargeFrame | undefined = undefined;

  /** Whether there is a message to take. */
  get available(): boolean {
    return this.#messages.length > 0;
  }

  /** The next message, which makes room for another. */
  take(): unknown {
    this.release();
    const { message, cost, loan } = this.#messages.shift()!;
    this.#loan = loan;
    // After the call's end the session has taken the credit back already.
    if (this.unconsumed >= cost) this.session.consume(this, cost);
    return message;
  }

  /** Whoever took the last message is done with it. */
  release(): void {
    this.#loan?.release();
    this.#loan = undefined;
  }

  /** What has not been taken is not wanted. */
  drop(): void {
    for (const { loan } of this.#messages) loan?.release();
    this.#messages = [];
  }

  override onMessage(message: unknown, cost: number, loan: LargeFrame | undefined): void {
    this.received++;
    this.#messages.push({ message, cost, loan });
  }

  protected override succeed(): void {
    this.ended = true;
  }

  protected override fail(error: RpcError, afterMessages: boolean): void {
    if (!afterMessages) this.drop();
    this.error = error;
    this.ended = true;
  }
}

/** Responses for the user to iterate; may exist before its call does, while there is no connection. */
export class ResponseQueue implements QueueOwner {
  readonly queue = new MessageQueue<unknown>(this);
  call: StreamResponseCall | undefined = undefined;
  /** The user gave up before the call began. */
  abandoned = false;
  /** What its requests are to be drawn from, if it has to wait; ended if it does so in vain. */
  requests: HeldSource | undefined = undefined;
  /** The peer has answered, or the call ended in a way that does not tell whether it has run. */
  hasRun = false;
  /** Called when the user gives up: whatever the call waits for need not remember it. */
  leave: (() => void) | undefined = undefined;
  readonly #onEnd: (() => void) | undefined;

  /** `onEnd` is called when the call is over, or abandoned. */
  constructor(onEnd?: () => void) {
    this.#onEnd = onEnd;
  }

  /** No more responses follow. `afterMessages`: those that have arrived come before the error. */
  end(error: RpcError | undefined, afterMessages: boolean): void {
    if (error === undefined || error.mayHaveRun) this.hasRun = true;
    if (afterMessages) this.queue.end(error);
    else this.queue.fail(error);
    this.#over();
  }

  onConsumed(cost: number): void {
    const call = this.call!;
    // After the call's end the session has taken the credit back already.
    if (call.unconsumed >= cost) call.session.consume(call, cost);
  }

  onAbandoned(): void {
    this.abandoned = true;
    this.leave?.();
    this.call?.abandon();
    this.#over();
  }

  #over(): void {
    if (this.call === undefined) this.requests?.end();
    this.requests = undefined;
    this.#onEnd?.();
  }
}
