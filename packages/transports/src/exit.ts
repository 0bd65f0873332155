/** What is to be removed when this thread ends by itself, where nothing else would. */
const removals = new Set<() => void>();
process.on("exit", () => removals.forEach((remove) => remove()));

/** Calls `remove`, which must not wait, when the thread ends by itself. Returns a function that takes that back. */
export function atExit(remove: () => void): () => void {
  removals.add(remove);
  return () => void removals.delete(remove);
}
