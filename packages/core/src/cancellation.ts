import { RpcError } from "./error.js";
import { Status } from "./status.js";

/** Why calls are cancelled. */
export interface CancelReason {
  readonly code: Status;
  readonly text: string;
  readonly cause: unknown;
}

/** What a source of cancellation cancels. */
export interface Cancellable {
  onCancelled(reason: CancelReason): void;
}

/** Membership of one call in one source. */
export class CancelLink {
  next: CancelLink | undefined = undefined;
  previous: CancelLink | undefined = undefined;
  constructor(
    public source: CancelSource | undefined,
    readonly target: Cancellable,
  ) {}

  /** Leave the source. Harmless when it has been left. */
  remove(): void {
    const source = this.source;
    if (source === undefined) return;
    this.source = undefined;
    if (this.previous === undefined) source.head = this.next;
    else this.previous.next = this.next;
    if (this.next !== undefined) this.next.previous = this.previous;
    if (source.head === undefined) source.onEmpty();
  }
}

/** Cancels many calls at once: an AbortSignal, or a handler's context whose call is over. */
export class CancelSource {
  head: CancelLink | undefined = undefined;

  add(target: Cancellable): CancelLink {
    const link = new CancelLink(this, target);
    link.next = this.head;
    if (this.head !== undefined) this.head.previous = link;
    this.head = link;
    return link;
  }

  /** The last of the calls has left. */
  onEmpty(): void {}

  cancel(reason: CancelReason): void {
    for (let link = this.head; link !== undefined; link = this.head) {
      link.remove();
      link.target.onCancelled(reason);
    }
  }
}

/** The cancellation of a call that is served, for those that want to hear of it. */
export class Cancellation extends CancelSource {
  /** Why the call was cancelled, once it was. */
  reason: CancelReason | undefined = undefined;
  #controller: AbortController | undefined = undefined;

  /** Made when first read: an AbortController costs more than all the rest of a call. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.reason !== undefined) this.#controller.abort(toError(this.reason));
    }
    return this.#controller.signal;
  }

  override cancel(reason: CancelReason): void {
    super.cancel(reason);
    this.#controller?.abort(toError(reason));
  }
}

/** What the handler of a call that was cancelled is told. */
export function toError({ code, text, cause }: CancelReason): RpcError {
  return new RpcError(code, text, { cause, mayHaveRun: true });
}

/** One listener per AbortSignal, however many calls share it (a listener per call costs a quarter of the calls/s). */
const sources = new WeakMap<AbortSignal, SignalSource>();

/**
 * Sources that no call is in, the oldest at `nextIdle`: most are in use again soon. A signal that follows others (`AbortSignal.any`) is
 * kept in memory for as long as it has a listener, so no more than these keep theirs.
 */
const idle: (SignalSource | undefined)[] = Array.from({ length: 64 }, () => undefined);
let nextIdle = 0;

/** That of the last call: the next call most often has the same signal. */
let latest: SignalSource | undefined = undefined;

/** Stands for an AbortSignal. */
class SignalSource extends CancelSource {
  readonly signal: AbortSignal;
  readonly #onAbort = (): void => this.cancel(abortReason(this.signal));
  #isListed = false;

  constructor(signal: AbortSignal) {
    super();
    this.signal = signal;
    sources.set(signal, this);
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  override onEmpty(): void {
    if (this.#isListed) return;
    this.#isListed = true;
    const oldest = idle[nextIdle];
    if (oldest !== undefined) oldest.#leaveList();
    idle[nextIdle] = this;
    nextIdle = (nextIdle + 1) % idle.length;
  }

  #leaveList(): void {
    this.#isListed = false;
    if (this.head !== undefined) return;
    if (latest === this) latest = undefined;
    sources.delete(this.signal);
    this.signal.removeEventListener("abort", this.#onAbort);
  }
}

/** The source that stands for `signal`, which must not be aborted yet. */
export function sourceOf(signal: AbortSignal): CancelSource {
  if (latest?.signal === signal) return latest;
  return (latest = sources.get(signal) ?? new SignalSource(signal));
}

/** Throws INVALID_ARGUMENT for what is no AbortSignal. */
export function checkSignal(signal: AbortSignal): void {
  if (typeof (signal as AbortSignal | null)?.addEventListener === "function") return;
  throw new RpcError(Status.INVALID_ARGUMENT, "signal is no AbortSignal");
}

/** Why signals of ours were aborted, by what they were aborted with. */
const ownReasons = new WeakMap<object, CancelReason>();

/** Abort a signal that stands for a call: calls that have it end as that call does. */
export function abortFor(controller: AbortController, reason: CancelReason): void {
  const error = toError(reason);
  ownReasons.set(error, reason);
  controller.abort(error);
}

export function abortReason(signal: AbortSignal): CancelReason {
  const reason: unknown = signal.reason;
  const own = reason instanceof RpcError ? ownReasons.get(reason) : undefined;
  if (own !== undefined) return own;
  const text = reason instanceof Error ? reason.message : String(reason);
  return { code: Status.CANCELLED, text: `the call was cancelled: ${text}`, cause: reason };
}
