import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { open, stat, unlink, type FileHandle } from "node:fs/promises";
import { RpcError, Status } from "@sluice/core";
import { errorCode } from "../errors.js";

/** How long to wait for another process that holds the lock. Holding takes milliseconds, unless the holder is stopped. */
const WAIT_MS = 5000;

/**
 * Takes the lock (flock(2)) on a descriptor, waiting for at most `waitMs`. False when another process still holds it. The
 * kernel frees the lock when the descriptor is closed, however its process ends.
 */
export type Flock = (fd: number, waitMs: number) => Promise<boolean>;

export interface Lock {
  release(): Promise<void>;
}

/** Holds the lock file `path`, which it makes, mode 0600, if there is none; `release` removes it. */
export async function lockFile(path: string, flock: Flock): Promise<Lock> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
  for (const started = performance.now(); ;) {
    const file = await open(path, flags, 0o600);
    let held = false;
    try {
      if (!(await flock(file.fd, WAIT_MS)) || performance.now() - started > WAIT_MS) {
        throw new RpcError(
          Status.UNAVAILABLE,
          `another process has been holding the lock ${path} for ${WAIT_MS / 1000} s; see fuser(1) for which`,
        );
      }
      // A holder removes the file before it lets go, so what was waited for may be a file of the past.
      held = await isAt(path, file);
    } finally {
      if (!held) await file.close();
    }
    if (held) return { release: () => release(path, file) };
  }
}

async function release(path: string, file: FileHandle): Promise<void> {
  try {
    await unlink(path);
  } finally {
    await file.close();
  }
}

async function isAt(path: string, file: FileHandle): Promise<boolean> {
  const own = await file.stat();
  try {
    const found = await stat(path);
    return found.ino === own.ino && found.dev === own.dev;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/**
 * flock(2) by way of flock(1), because Node offers none: the lock belongs to the open file description, which the program
 * inherits, so it outlives the program.
 */
export const programFlock: Flock = (fd, waitMs) =>
  new Promise((resolve, reject) => {
    const program = spawn("flock", ["-w", String(waitMs / 1000), "3"], {
      stdio: ["ignore", "ignore", "ignore", fd],
    });
    program.once("error", (error) =>
      reject(
        new RpcError(
          Status.FAILED_PRECONDITION,
          "without @sluice/native, listening at a Unix socket's path needs the program flock (package util-linux), " +
            `which cannot be run: ${error.message}`,
          { cause: error },
        ),
      ),
    );
    program.once("exit", (code, signal) => {
      if (code === 0 || code === 1) resolve(code === 0);
      else reject(new RpcError(Status.INTERNAL, `flock(1) failed: ${signal ?? `exit status ${code}`}`));
    });
  });
