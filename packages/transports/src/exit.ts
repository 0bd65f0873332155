/** What is to be done when this thread ends by itself: what would remain is removed, and peers are told. */
const callbacks = new Set<() => void>();
// Before the addon closes what is open, with which names would become free for others.
process.prependListener("exit", () => callbacks.forEach((callback) => callback()));

/** Calls `callback`, which must not wait, when the thread ends by itself. Returns a function that takes that back. */
export function atExit(callback: () => void): () => void {
  callbacks.add(callback);
  return () => void callbacks.delete(callback);
}
