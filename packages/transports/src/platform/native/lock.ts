import { setTimeout } from "node:timers/promises";
import type { Native } from "@sluice/native";
import type { LockedFile } from "../index.js";

/** Nothing tells when a lock becomes free, short of a thread that waits for it; it is held for milliseconds. */
const RETRY_MS = 3;

export async function openLocked(
  native: Native,
  path: string,
  waitMs: number,
): Promise<LockedFile | undefined> {
  for (const deadline = performance.now() + waitMs; ;) {
    const fd = native.lockFile(path);
    if (fd !== undefined) return { close: async () => native.closeFd(fd) };
    if (performance.now() >= deadline) return undefined;
    await setTimeout(RETRY_MS);
  }
}
