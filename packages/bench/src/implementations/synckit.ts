/** synckit: calls that block until a worker thread has answered. */
import { createSyncFn } from "synckit";
import type { Echoed, Implementation } from "../implementation.js";

export const synckit: Implementation = {
  async serve() {
    throw new Error("synckit starts its own worker: synckit-worker.js");
  },

  async connect() {
    const worker = new URL("./synckit-worker.js", import.meta.url);
    const unarySync = createSyncFn(worker) as (body: Uint8Array) => Echoed;
    return {
      unarySync,
      unary: () => async (body) => unarySync(body),
      // Its worker does not keep the process alive.
      async close() {},
    };
  },
};
