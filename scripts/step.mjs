/** How the repository's scripts say what they do: one line per step, its time, and everything it printed if it fails. */
import { spawn } from "node:child_process";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * Run `command` in `cwd` and resolve to what it printed.
 * Rejects with that text, and how to run it by hand, when it fails.
 */
export function run(command, args, { cwd = root, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.stderr.on("data", (chunk) => chunks.push(chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const output = Buffer.concat(chunks).toString();
      if (code === 0) resolve(output);
      else
        reject(
          new Error(`${output.trimEnd()}\n${[command, ...args].join(" ")}: ${signal ?? `exit ${code}`}`),
        );
    });
  });
}

/** Announce `what`, do `work`, and say how long it took; end the process with status 1 if it fails. */
export async function step(what, work) {
  const begin = performance.now();
  console.log(`${what} ...`);
  try {
    await work();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    console.error(`failed: ${what}`);
    process.exit(1);
  }
  console.log(`${what}: ${((performance.now() - begin) / 1000).toFixed(1)} s`);
}
