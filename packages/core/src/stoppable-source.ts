import { snapshot, type InContext } from "./async-context.js";
import { toError, type Cancellable, type CancelReason } from "./cancellation.js";
import type { MessageSource } from "./definition.js";
import { HeldSource } from "./message-pump.js";
import { DONE, type Waiter } from "./message-queue.js";

/**
 * A user's source of messages as an AsyncIterable for interceptors, which can be stopped while a message is awaited. To stop an async
 * generator that delegates to the source would have to wait for that message. No message is asked of the source before the first `next`, in whose
 * async context it then stays, also when it cleans up.
 */
export class StoppableSource implements AsyncIterableIterator<unknown, undefined>, Cancellable {
  readonly #source: HeldSource;
  /** What the source runs in, once it has been asked for a message. */
  #run: InContext | undefined = undefined;
  #drawing = false;
  #ended = false;
  #stopped: Promise<unknown> | undefined = undefined;
  /** What it was stopped with, while nobody has been told. */
  #error: Error | undefined = undefined;
  readonly #waiting = new Set<Waiter<unknown>>();

  constructor(source: MessageSource<unknown>) {
    this.#source = new HeldSource(source);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    if (this.#stopped !== undefined) return this.#afterStop();
    if (this.#ended) return Promise.resolve(DONE);
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      this.#waiting.add(waiter);
      this.#draw().then(
        (result) => {
          // What ends because the source was told to stop is told by `stop`.
          if (this.#stopped !== undefined) return;
          this.#waiting.delete(waiter);
          if (result.done === true) this.#ended = true;
          resolve(result as IteratorResult<unknown, undefined>);
        },
        (error: unknown) => {
          if (this.#stopped !== undefined) return;
          this.#waiting.delete(waiter);
          this.#ended = true;
          reject(error as Error);
        },
      );
    });
  }

  async #draw(): Promise<IteratorResult<unknown>> {
    const { iterator } = this.#source;
    const run = (this.#run ??= snapshot());
    this.#drawing = true;
    try {
      return run(() => iterator.next());
    } finally {
      this.#drawing = false;
    }
  }

  async return(): Promise<IteratorResult<unknown, undefined>> {
    await this.stop();
    return DONE;
  }

  /**
   * Have the source clean up, if it has not ended; also if nothing was asked of it yet, since a stream has opened its file by then. What is
   * awaited of it ends, with `error` or as if there were no more. Rejects with what cleaning up fails with.
   */
  stop(error?: Error): Promise<unknown> {
    if (this.#stopped !== undefined) return this.#stopped;
    if (this.#ended) return Promise.resolve();
    this.#error = error;
    this.#stopped = this.#cleanUp();
    const settle = (): void => {
      for (const { resolve, reject } of this.#waiting) this.#afterStop().then(resolve, reject);
    };
    this.#stopped.then(settle, settle);
    return this.#stopped;
  }

  /** Only the first learns of the error, as with a generator. */
  async #afterStop(): Promise<IteratorResult<unknown, undefined>> {
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error;
    return DONE;
  }

  async #cleanUp(): Promise<unknown> {
    // A plain generator cannot be told to stop while it runs.
    if (this.#drawing) await Promise.resolve();
    const run = this.#run ?? snapshot();
    return run(() => this.#source.return());
  }

  onCancelled(reason: CancelReason): void {
    void this.stop(toError(reason));
  }
}
