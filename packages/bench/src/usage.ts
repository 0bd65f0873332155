/** What the kernel says that a process has used: proc(5). */
import { readFileSync } from "node:fs";

/** Linux counts a process's CPU time for user space in units of 1/100 s, whatever the kernel's own tick. */
const MS_PER_TICK = 10;

/** User and system time so far. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name, second of the fields, may hold anything but ends with the last parenthesis; utime and stime are 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[14 - 3]) + Number(fields[15 - 3])) * MS_PER_TICK;
}

/** Memory, with what is shared counted in equal parts to those who share it. */
export function pssBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)![1]) * 1024;
}

/** What V8 uses in this process for what is still reachable. The process needs Node's flag `--expose-gc`. */
export function usedBytes(): number {
  globalThis.gc!();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
