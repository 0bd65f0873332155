/** Throws outside of all that runs now. */
export function throwUncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

/** Listeners of named events. `Events` gives each event's arguments. */
export class Emitter<Events extends { [event: string]: readonly unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<(...args: any[]) => void>>();

  /** Call `listener` at each `event` from now on. Returns a function that ends it. */
  on<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): () => void {
    let listeners = this.#listeners.get(event);
    if (listeners === undefined) this.#listeners.set(event, (listeners = new Set()));
    // A wrapper of its own, so that a listener given twice is called twice and ended once.
    const entry = (...args: Events[E]): void => listener(...args);
    listeners.add(entry);
    return () => void listeners.delete(entry);
  }

  /** Whether anyone listens to `event`. */
  has(event: keyof Events): boolean {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  /** What a listener throws becomes an uncaught exception: it is no fault of whatever the event is about. */
  emit<E extends keyof Events>(event: E, ...args: Events[E]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        listener(...args);
      } catch (error) {
        throwUncaught(error);
      }
    }
  }
}
