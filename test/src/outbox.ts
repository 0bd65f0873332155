/** Messages that a test sends one by one: an async iterable that waits for `push` and ends with `end` or `fail`. */
export class Outbox<T> implements AsyncIterable<T> {
  /** How many messages were taken out. */
  taken = 0;
  /** Whether the reader gave up before the end. */
  abandoned = false;
  readonly #queue: T[] = [];
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  push(...messages: T[]): void {
    this.#queue.push(...messages);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: unknown): void {
    this.#error = error;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    let complete = false;
    try {
      for (;;) {
        if (this.#queue.length > 0) {
          this.taken++;
          yield this.#queue.shift()!;
        } else if (this.#ended) {
          complete = true;
          if (this.#error !== undefined) throw this.#error;
          return;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.abandoned = !complete;
    }
  }
}
