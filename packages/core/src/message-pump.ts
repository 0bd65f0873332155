import type { MessageSource } from "./definition.js";
import { RpcError } from "./error.js";
import { observableIterator } from "./observable-iterator.js";
import { Status } from "./status.js";
import { streamIterator } from "./stream-iterators.js";

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
  constructor(source: MessageSource<unknown> | HeldSource, sink: Sink) {
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
    const returned = close(this.#iterator);
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

/** Have a source clean up. What it throws when it is told to stop has nobody to go to: its call is over. */
function close(source: { return?(): unknown }): unknown {
  try {
    return source.return?.();
  } catch {
    return undefined;
  }
}

/**
 * A source whose messages are not drawn yet, since its call waits for something. It is begun, so that a stream that fails meanwhile fails
 * the call and not the process, and can be ended if the call never begins.
 */
export class HeldSource {
  readonly #iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined = undefined;
  readonly #error: unknown = undefined;

  constructor(source: MessageSource<unknown>) {
    try {
      this.#iterator = iteratorOf(source);
    } catch (error) {
      this.#error = error;
    }
  }

  /** What draws the messages. Throws what was wrong with the source. */
  get iterator(): AsyncIterator<unknown> | Iterator<unknown> {
    if (this.#iterator === undefined) throw this.#error;
    return this.#iterator;
  }

  /** Have the source clean up. Throws, or rejects with, what it fails with then. */
  return(): unknown {
    return this.#iterator?.return?.();
  }

  /** The same, when there is nobody to be told. */
  end(): void {
    const returned = close(this);
    if (isThenable(returned)) Promise.resolve(returned).catch(() => {});
  }
}

/** What draws messages from `source`. Throws INVALID_ARGUMENT if it is nothing that messages can be drawn from. */
export function iteratorOf(
  source: MessageSource<unknown> | HeldSource,
): AsyncIterator<unknown> | Iterator<unknown> {
  if (source instanceof HeldSource) return source.iterator;
  if (isSource(source)) {
    const stream = streamIterator(source);
    if (stream !== undefined) return stream;
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
    if (Symbol.iterator in source) return source[Symbol.iterator]();
    return observableIterator(source);
  }
  throw new RpcError(
    Status.INVALID_ARGUMENT,
    `a stream of messages must be an AsyncIterable, an Iterable or an Observable, not ${typeof source}`,
  );
}
