import { RpcError, Status } from "@sluice/core";
import { type Observable, type Subscription, takeWhile } from "rxjs";

export const DEFAULT_MAX_BUFFERED = 1024;

/**
 * An Observable as an iterator that is pulled. It subscribes at the first `next` and keeps what comes before it is asked
 * for, at most `limit` messages: one more makes it fail with RESOURCE_EXHAUSTED. `return` unsubscribes at once, also
 * while a `next` waits, which an async generator could not do.
 */
export function pull<T>(source: Observable<T>, limit: number): AsyncIterable<T> {
  return { [Symbol.asyncIterator]: () => new Puller(source, limit) };
}

class Puller<T> implements AsyncIterator<T, undefined> {
  readonly #source: Observable<T>;
  readonly #limit: number;
  readonly #buffer: T[] = [];
  #subscription: Subscription | undefined;
  /** Set when the source has ended; what is buffered goes first. */
  #end: { readonly error?: unknown } | undefined;
  /** The `next` that waits, as its promise's two functions. */
  #waiting: { resolve(result: IteratorResult<T, undefined>): void; reject(error: unknown): void } | undefined;

  constructor(source: Observable<T>, limit: number) {
    this.#source = source;
    this.#limit = limit;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (!this.#end) this.#subscription ??= this.#subscribe();
      this.#settle();
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#buffer.length = 0;
    this.#finish({});
    return Promise.resolve({ done: true, value: undefined });
  }

  #subscribe(): Subscription {
    // A source that emits inside subscribe cannot be unsubscribed yet: takeWhile is what stops it.
    return this.#source.pipe(takeWhile(() => this.#end === undefined)).subscribe({
      next: (value) => this.#push(value),
      error: (error: unknown) => this.#finish({ error }),
      complete: () => this.#finish({}),
    });
  }

  #push(value: T): void {
    if (this.#buffer.length === this.#limit && !this.#waiting) {
      this.#buffer.length = 0;
      this.#finish({
        error: new RpcError(
          Status.RESOURCE_EXHAUSTED,
          `the Observable of requests is more than ${this.#limit} messages ahead of the peer: slow it down, raise ` +
            "maxBufferedRequests, or give an AsyncIterable, which is read as fast as the peer takes",
        ),
      });
      return;
    }
    this.#buffer.push(value);
    this.#settle();
  }

  #finish(end: { readonly error?: unknown }): void {
    this.#end ??= end;
    this.#subscription?.unsubscribe();
    this.#settle();
  }

  /** Give the `next` that waits what there is for it. */
  #settle(): void {
    if (!this.#waiting) return;
    const { resolve, reject } = this.#waiting;
    if (this.#buffer.length > 0) resolve({ done: false, value: this.#buffer.shift()! });
    else if (this.#end && "error" in this.#end) reject(this.#end.error);
    else if (this.#end) resolve({ done: true, value: undefined });
    else return;
    this.#waiting = undefined;
  }
}
