import { RpcError } from "./error.js";
import type { Status } from "./status.js";

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
const sources = new WeakMap<AbortSignal, CancelSource>();

/** The source that stands for `signal`, which must not be aborted yet. */
export function sourceOf(signal: AbortSignal): CancelSource {
  let source = sources.get(signal);
  if (source === undefined) {
    const added = new CancelSource();
    source = added;
    sources.set(signal, added);
    signal.addEventListener("abort", () => added.cancel(abortReason(signal)), { once: true });
  }
  return source;
}

export function abortReason(signal: AbortSignal): CancelReason {
  const reason: unknown = signal.reason;
  const text = reason instanceof Error ? reason.message : String(reason);
  return { code: 1, text: `the call was cancelled: ${text}`, cause: reason };
}
