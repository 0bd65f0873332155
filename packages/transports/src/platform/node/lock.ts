import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { open, stat, type FileHandle } from "node:fs/promises";
import { RpcError, Status } from "@sluice/core";
import { errorCode } from "../../errors.js";
import type { LockedFile } from "../index.js";

/**
 * By way of flock(1), because Node offers no flock(2): the lock belongs to the open file description, which the program
 * inherits, so it outlives the program.
 */
export async function openLocked(path: string, waitMs: number): Promise<LockedFile | undefined> {
  for (const deadline = performance.now() + waitMs; ;) {
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    let outcome: "held" | "stale" | "busy" = "busy";
    try {
      // Whoever held the lock may have removed the file, so what was waited for may be a file of the past.
      if (await runFlock(file.fd, Math.max(0, deadline - performance.now()))) {
        outcome = (await isAt(path, file)) ? "held" : "stale";
      }
    } finally {
      if (outcome !== "held") await file.close();
    }
    if (outcome === "held") return file;
    if (outcome === "busy") return undefined;
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

/** False when the lock is still held by another process after `waitMs`. */
function runFlock(fd: number, waitMs: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const program = spawn("flock", ["-w", (waitMs / 1000).toFixed(3), "3"], {
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
}
