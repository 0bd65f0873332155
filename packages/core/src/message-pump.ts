import type { MessageSource, ObservableLike } from "./definition.js";
import { RpcError } from "./error.js";
import { Status } from "./status.js";

/** Where a pump sends messages. */
export interface Sink {
  /** Returns whether another may follow at once; else `MessagePump.resume` is called when it may. Throws what it cannot send. */
  send(message: unknown): boolean;
  /** The source has ended. */
  onSourceEnd(): void;
  /** The source has failed, or `send` has. */
  onSourceError(error: unknown): void;
  /** The source has run to its end: it ended, failed, or has cleaned up after being stopped. Once. */
  onSourceClosed(): void;
}

/** Draws messages from the user's source as fast as the stream takes them, and no faster. */
export class MessagePump {
  readonly #sink: Sink;
  readonly #iterator: AsyncIterator<unknown> | Iterator<unknown>;
  #stopped = false;
  /** A message is being drawn or sent; what either runs may call `resume`, which then has nothing to do. */
  #pulling = false;
  /** The source is running: a plain generator cannot be told to stop then. */
  #drawing = false;
  readonly #onResult = (result: IteratorResult<unknown>): void => {
    if (this.#take(result)) this.#pull();
    else this.#pulling = false;
  };
  readonly #onError = (error: unknown): void => {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#sink.onSourceError(error);
    this.#sink.onSourceClosed();
  };

  /** Throws INVALID_ARGUMENT if `source` is nothing that messages can be drawn from. */
  constructor(source: MessageSource<unknown>, sink: Sink) {
    this.#sink = sink;
    this.#iterator = iteratorOf(source);
  }

  /** Begin, or go on after `send` returned false. */
  resume(): void {
    if (!this.#pulling && !this.#stopped) this.#pull();
  }

  /** Draw no more, and let the source clean up (its `finally` blocks). */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    if (!this.#drawing) this.#close();
  }

  #close(): void {
    const closed = (): void => this.#sink.onSourceClosed();
    let returned: unknown = undefined;
    try {
      returned = this.#iterator.return?.();
    } catch {
      // What a source throws when it is told to stop has nobody to go to: its call is over.
    }
    if (isThenable(returned)) Promise.resolve(returned).then(closed, closed);
    else closed();
  }

  #pull(): void {
    this.#pulling = true;
    for (;;) {
      let result: IteratorResult<unknown> | PromiseLike<IteratorResult<unknown>>;
      this.#drawing = true;
      try {
        result = this.#iterator.next();
      } catch (error) {
        this.#drawing = false;
        return this.#stopped ? this.#sink.onSourceClosed() : this.#onError(error);
      }
      this.#drawing = false;
      if (this.#stopped) {
        // By what the source has run. What it gave is of no use, and its failure nobody's.
        if (isThenable(result)) Promise.resolve(result).catch(() => {});
        return this.#close();
      }
      if (isThenable(result)) {
        (result as PromiseLike<IteratorResult<unknown>>).then(this.#onResult, this.#onError);
        return;
      }
      if (!this.#take(result as IteratorResult<unknown>)) break;
    }
    this.#pulling = false;
  }

  /** Send one result. Returns whether to draw another. */
  #take(result: IteratorResult<unknown>): boolean {
    if (this.#stopped) return false;
    try {
      if (result.done !== true) return this.#sink.send(result.value);
    } catch (error) {
      this.stop();
      this.#sink.onSourceError(error);
      return false;
    }
    this.#stopped = true;
    this.#sink.onSourceEnd();
    this.#sink.onSourceClosed();
    return false;
  }
}

/** Whether messages can be drawn from it. */
export function isSource(value: unknown): value is MessageSource<unknown> {
  return (
    value !== null &&
    typeof value === "object" &&
    (Symbol.asyncIterator in value || Symbol.iterator in value || "subscribe" in value)
  );
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null && typeof value === "object" && typeof (value as { then?: unknown }).then === "function"
  );
}

/** What draws messages from `source`. Throws INVALID_ARGUMENT if it is nothing that messages can be drawn from. */
export function iteratorOf(source: MessageSource<unknown>): AsyncIterator<unknown> | Iterator<unknown> {
  if (isSource(source)) {
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
    if (Symbol.iterator in source) return source[Symbol.iterator]();
    return new ObservableIterator(source);
  }
  throw new RpcError(
    Status.INVALID_ARGUMENT,
    `a stream of messages must be an AsyncIterable, an Iterable or an Observable, not ${typeof source}`,
  );
}

/** Messages that an Observable may be ahead of its stream: it cannot be slowed, only cut off. */
export const MAX_OBSERVABLE_BACKLOG = 65_536;

/** An Observable's messages one by one. An Observable knows no back-pressure: what comes too fast is kept, to a limit. */
class ObservableIterator implements AsyncIterator<unknown, undefined> {
  #messages: unknown[] = [];
  #ended = false;
  #error: { readonly error: unknown } | undefined = undefined;
  #wake: (() => void) | undefined = undefined;
  #subscription: { unsubscribe(): void } | undefined = undefined;

  constructor(source: ObservableLike<unknown>) {
    this.#subscription = source.subscribe({
      next: (message) => {
        if (this.#ended) return;
        if (this.#messages.length >= MAX_OBSERVABLE_BACKLOG) {
          this.#finish({
            error: new RpcError(
              Status.RESOURCE_EXHAUSTED,
              `the Observable is ${MAX_OBSERVABLE_BACKLOG} messages ahead of the stream; ` +
                `return an AsyncIterable where back-pressure is needed`,
            ),
          });
          this.#messages = [];
          this.#subscription?.unsubscribe();
          return;
        }
        this.#messages.push(message);
        this.#wake?.();
      },
      error: (error) => this.#finish({ error }),
      complete: () => this.#finish(undefined),
    });
    // It may have ended, or been cut off, before `subscribe` returned.
    if (this.#ended) this.#subscription.unsubscribe();
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    if (this.#messages.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    if (this.#messages.length > 0) return { value: this.#messages.shift(), done: false };
    if (this.#error !== undefined) throw this.#error.error;
    return { value: undefined, done: true };
  }

  return(): Promise<IteratorResult<unknown, undefined>> {
    this.#messages = [];
    this.#finish(undefined);
    this.#subscription?.unsubscribe();
    return Promise.resolve({ value: undefined, done: true });
  }

  #finish(error: { readonly error: unknown } | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }
}
