import type { LargeFrame } from "./transport.js";

/** Messages that have arrived and wait for the user's code to take them. Iterated once, by one consumer. */
export interface QueueOwner {
  /** The consumer has taken a message of this cost. */
  onConsumed(cost: number): void;
  /** The consumer wants no more, before the end was reached. */
  onAbandoned(): void;
}

/** Who waits for a result of an iterator. */
export interface Waiter<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The `AsyncIterable` that users see of a stream of messages. What it holds is bounded by the stream's window: each
 * message's cost is credited to the sender only when `next` hands it out.
 */
export class MessageQueue<T> implements AsyncIterableIterator<T, undefined> {
  readonly #owner: QueueOwner;
  #messages: T[] = [];
  #costs: number[] = [];
  /** What was lent with the messages, at their places, once anything was. */
  #loans: (LargeFrame | undefined)[] | undefined = undefined;
  /** What was lent with the message that the consumer has. */
  #loan: LargeFrame | undefined = undefined;
  #head = 0;
  #waiters: Waiter<T>[] = [];
  #iterated = false;
  #abandoned = false;
  #ended = false;
  #error: unknown = undefined;

  constructor(owner: QueueOwner) {
    this.#owner = owner;
  }

  /** Add a message, or hand it to a waiting consumer; drop it, with no credit for it, if the consumer has gone. */
  push(message: T, cost: number, loan: LargeFrame | undefined): void {
    if (this.#abandoned) return loan?.release();
    if (this.#waiters.length > 0) {
      if (this.#loan !== undefined) this.release();
      this.#loan = loan;
      const waiter = this.#waiters.shift()!;
      this.#owner.onConsumed(cost);
      waiter.resolve({ value: message, done: false });
    } else {
      if (loan !== undefined) (this.#loans ??= [])[this.#messages.length] = loan;
      this.#messages.push(message);
      this.#costs.push(cost);
    }
  }

  /** No more messages follow; with `error` the iteration throws it after those that are there. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      // Only the first learns of the error, as with a generator.
      if (this.#error === undefined) waiter.resolve(DONE);
      else {
        this.#error = undefined;
        waiter.reject(error);
      }
    }
  }

  /** The same, but messages that are there are dropped. */
  fail(error: unknown): void {
    if (this.#ended && this.#head === this.#messages.length) return;
    this.#drop();
    if (this.#ended) this.#error = error;
    else this.end(error);
  }

  [Symbol.asyncIterator](): this {
    if (this.#iterated) throw new TypeError("a stream of messages can be iterated only once");
    this.#iterated = true;
    return this;
  }

  /** The consumer is done with the message that it took last. */
  release(): void {
    this.#loan?.release();
    this.#loan = undefined;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#loan !== undefined) this.release();
    const head = this.#head;
    if (head < this.#messages.length) {
      const value = this.#messages[head]!;
      const cost = this.#costs[head]!;
      if (this.#loans !== undefined) {
        this.#loan = this.#loans[head];
        this.#loans[head] = undefined;
      }
      this.#head = head + 1;
      if (this.#head === this.#messages.length) this.#drop();
      else if (this.#head >= MANY_TAKEN && 2 * this.#head >= this.#messages.length) this.#forgetTaken();
      this.#owner.onConsumed(cost);
      return Promise.resolve({ value, done: false });
    }
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- handlers may fail with anything
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve(DONE);
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T, undefined>> {
    if (!this.#ended || this.#head < this.#messages.length) this.#owner.onAbandoned();
    this.#abandoned = true;
    this.release();
    this.#drop();
    this.#error = undefined;
    this.end();
    return Promise.resolve(DONE);
  }

  /** A queue whose consumer is always behind is never empty, and would keep all that went through it. */
  #forgetTaken(): void {
    this.#messages.splice(0, this.#head);
    this.#costs.splice(0, this.#head);
    this.#loans?.splice(0, this.#head);
    this.#head = 0;
  }

  #drop(): void {
    this.#messages = [];
    this.#costs = [];
    this.#head = 0;
    if (this.#loans === undefined) return;
    for (const loan of this.#loans) loan?.release();
    this.#loans = undefined;
  }
}

/** As many messages that were taken are worth the moving of the others. */
const MANY_TAKEN = 64;

export const DONE: IteratorReturnResult<undefined> = { value: undefined, done: true };
