import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(import.meta.resolve("@sluice/bench/main.js"));

/** `npm run bench -- OPTIONS`, in a process of its own. */
export function startMain(options: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [MAIN, ...options]);
}

/** What it printed, and what it complained of, when it has ended. */
export async function runMain(
  options: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = startMain(options);
  const [[code], stdout, stderr] = await Promise.all([
    once(main, "exit") as Promise<[number]>,
    text(main.stdout),
    text(main.stderr),
  ]);
  return { code, stdout, stderr };
}

/** Processes that `pid` started. */
export function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return children.trim().split(" ").filter(Boolean).map(Number);
}
