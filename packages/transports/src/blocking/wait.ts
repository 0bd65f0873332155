import type { Native, SocketAddress } from "@sluice/native";
import { errorCode } from "../errors.js";

/**
 * How long a thread is kept in the addon at once, in milliseconds: only when it is in JavaScript again can it be ended, and
 * `worker.terminate()` and `process.exit()` wait for that.
 */
export const MAX_BLOCKED_MS = 100;

/** As `awaitReady`, without polling, until `deadline` (of `performance.now()`). */
export function awaitUntil(native: Native, readFd: number, writeFd: number, deadline: number): boolean {
  for (;;) {
    const leftMs = Math.max(0, deadline - performance.now());
    if (native.blocking.awaitReady(readFd, writeFd, Math.min(leftMs, MAX_BLOCKED_MS), 0)) return true;
    if (leftMs === 0) return false;
  }
}

/**
 * Connects a stream socket, whose descriptor does not block and is the caller's. Throws a `SystemError`, at `deadline` (of
 * `performance.now()`) with `ETIMEDOUT`, or with `EAGAIN` where a Unix listener's backlog is full.
 */
export function connectUntil(native: Native, target: SocketAddress, deadline: number): number {
  const { blocking } = native;
  // No event tells that the backlog has room again (connect(2)).
  for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, 64)) {
    let fd: number;
    try {
      fd = blocking.startConnecting(target);
    } catch (error) {
      const again = performance.now() + pauseMs;
      if (errorCode(error) !== "EAGAIN" || again >= deadline) throw error;
      awaitUntil(native, -1, -1, again);
      continue;
    }
    try {
      awaitUntil(native, -1, fd, deadline);
      blocking.finishConnecting(fd, target);
      return fd;
    } catch (error) {
      native.closeFd(fd);
      throw error;
    }
  }
}
