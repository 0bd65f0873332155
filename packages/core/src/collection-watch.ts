/**
 * Tells of full garbage collections, in a turn of the event loop of its own: by an object that nothing else refers to, which outlives
 * those of young objects alone because it is registered. Since V8 14 (Node 26) it does not, and those are told, too.
 */
export class CollectionWatch {
  readonly #registry: FinalizationRegistry<undefined>;
  #listening = false;

  constructor(onCollection: () => void) {
    this.#registry = new FinalizationRegistry(() => {
      this.#listening = false;
      onCollection();
    });
  }

  /** Have the next one told, once. Returns whether it would not have been told without this. */
  listen(): boolean {
    if (this.#listening) return false;
    this.#listening = true;
    this.#registry.register({}, undefined);
    return true;
  }
}
