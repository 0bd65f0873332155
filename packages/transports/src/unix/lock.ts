import { unlink } from "node:fs/promises";
import { RpcError, Status } from "@sluice/core";
import { errorCode } from "../errors.js";
import type { Platform } from "../platform/index.js";

/** How long to wait for another process that holds the lock. Holding takes milliseconds, unless the holder is stopped. */
const WAIT_MS = 5000;

export interface Lock {
  /** Removes the file and lets go. */
  release(): Promise<void>;
}

/** Holds the lock file at `path`, which is made if there is none. */
export async function lockFile(path: string, platform: Platform): Promise<Lock> {
  const file = await platform.openLocked(path, WAIT_MS);
  if (file === undefined) {
    throw new RpcError(
      Status.UNAVAILABLE,
      `another process has been holding the lock ${path} for ${WAIT_MS / 1000} s; fuser(1) tells which`,
    );
  }
  return {
    async release() {
      try {
        // Before the lock is given up: nobody else can have it, or make another file here, until then.
        await unlink(path);
      } catch (error) {
        // Somebody else has removed it, which changes nothing for who has held the lock.
        if (errorCode(error) !== "ENOENT") throw error;
      } finally {
        await file.close();
      }
    },
  };
}
