/** Uncaught exceptions that a test means to have. */

/** Run `body`; what is thrown with nobody to catch it meanwhile goes to `caught`, not to the test runner. */
export async function withUncaught(caught: (error: Error) => void, body: () => Promise<void>): Promise<void> {
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", caught);
  try {
    await body();
  } finally {
    process.removeListener("uncaughtException", caught);
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
}
