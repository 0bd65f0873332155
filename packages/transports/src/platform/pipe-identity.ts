import { fstatSync } from "node:fs";

/** Tells the pipe or socket behind a descriptor from all others, in every process; undefined for anything else. */
export function pipeIdentity(fd: number): string | undefined {
  const stats = fstatSync(fd);
  return stats.isFIFO() || stats.isSocket() ? `${stats.dev}-${stats.ino}` : undefined;
}
