import type { ObservableLike } from "./definition.js";
import { RpcError } from "./error.js";
import { MessageQueue } from "./message-queue.js";
import { Status } from "./status.js";

/** Messages that an Observable may be ahead of its stream: it cannot be slowed, only cut off. */
export const MAX_OBSERVABLE_BACKLOG = 65_536;

/** An Observable's messages one by one. An Observable knows no back-pressure: what comes too fast is kept, to a limit. */
export function observableIterator(source: ObservableLike<unknown>): AsyncIterator<unknown, undefined> {
  let kept = 0;
  const queue = new MessageQueue<unknown>({
    onConsumed: () => void kept--,
    onAbandoned: () => subscriber.unsubscribe(),
  });
  const subscriber = new Subscriber(
    (message) => {
      if (kept < MAX_OBSERVABLE_BACKLOG) {
        kept++;
        return queue.push(message, 0, undefined);
      }
      const text =
        `the Observable is ${MAX_OBSERVABLE_BACKLOG} messages ahead of the stream; ` +
        `return an AsyncIterable where back-pressure is needed`;
      queue.fail(new RpcError(Status.RESOURCE_EXHAUSTED, text));
      subscriber.unsubscribe();
    },
    (error) => queue.end(error),
  );
  subscriber.start(source.subscribe(subscriber));
  return queue;
}

/** What ends a subscription, or something that belongs to it. */
type Teardown = (() => void) | { readonly closed?: boolean; unsubscribe?(): void };

/**
 * Observes an Observable, and ends its subscription, perhaps before `subscribe` has returned it: an endless Observable may emit right there.
 * rxjs takes what has the methods of a Subscriber for one: it looks at `closed`, and gives to `add` what is to be told of the end. Others look
 * at `closed`, too, or call `start`.
 */
class Subscriber {
  closed = false;
  readonly #onMessage: (message: unknown) => void;
  readonly #onEnd: (error?: unknown) => void;
  readonly #teardowns = new Set<Teardown>();
  /** When there are as many, it is time to look for those that have ended, since they do not say so. */
  #manyTeardowns = 16;

  constructor(onMessage: (message: unknown) => void, onEnd: (error?: unknown) => void) {
    this.#onMessage = onMessage;
    this.#onEnd = onEnd;
  }

  readonly next = (message: unknown): void => {
    if (!this.closed) this.#onMessage(message);
  };

  readonly error = (error: unknown): void => {
    if (!this.closed) this.#onEnd(error ?? new Error("the Observable failed with no reason given"));
    this.unsubscribe();
  };

  readonly complete = (): void => {
    if (!this.closed) this.#onEnd();
    this.unsubscribe();
  };

  /** Be told of the subscription, as those of the ECMAScript proposal do before they emit. */
  start(subscription: Teardown | undefined): void {
    if (subscription !== this) this.add(subscription);
  }

  add(teardown: Teardown | undefined): void {
    if (teardown === undefined) return;
    if (this.closed) return tearDown(teardown);
    this.#teardowns.add(teardown);
    if (this.#teardowns.size < this.#manyTeardowns) return;
    for (const one of this.#teardowns) {
      if (typeof one === "object" && one.closed === true) this.#teardowns.delete(one);
    }
    this.#manyTeardowns = 2 * this.#teardowns.size + 16;
  }

  remove(teardown: Teardown): void {
    this.#teardowns.delete(teardown);
  }

  unsubscribe(): void {
    if (this.closed) return;
    this.closed = true;
    for (const teardown of this.#teardowns) tearDown(teardown);
    this.#teardowns.clear();
  }
}

/** What it throws has nobody to go to: the call is over. */
function tearDown(teardown: Teardown): void {
  try {
    if (typeof teardown === "function") teardown();
    else teardown.unsubscribe?.();
  } catch {
    // As said.
  }
}
