/**
 * Builds limits.cc, which measures what pipes, queues, sockets and rings can do between two C++ processes. By hand:
 * `node bench/limits.mjs --transport ring-polled --bytes 64 --in-flight 1 --seconds 1`.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const folders = [here, join(here, "../src/os")];
const output = join(here, "../build");

/** What its `--transport` takes. */
export const limitTransports = [
  "ring-polled",
  "ring-sleeping",
  "ring-each",
  "unix",
  "unix-polled",
  "unix-kept",
  "unix-each",
  "pipe",
  "pipe-polled",
  "pipe-kept",
  "fifo",
  "mq",
  "sysvmq",
  "tcp",
  "udp",
  "memcpy",
];

/** The program's path, compiled unless it is newer than its sources. Throws if there is no C++20 compiler. */
export function buildLimits() {
  const program = join(output, "limits");
  const sources = folders.flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)));
  const newest = Math.max(...sources.map((file) => statSync(file).mtimeMs));
  if (existsSync(program) && statSync(program).mtimeMs > newest) return program;

  const compiler = process.env.CXX ?? "g++";
  mkdirSync(output, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  try {
    execFileSync(
      compiler,
      ["-std=c++20", "-O2", "-Wall", "-Wextra", "-pthread", join(here, "limits.cc"), "-o", fresh],
      { stdio: ["ignore", "inherit", "inherit"] },
    );
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    throw new Error(
      `the C++ limits need a C++20 compiler, and there is no ${compiler}: install g++ or set CXX`,
      {
        cause: error,
      },
    );
  }
  renameSync(fresh, program); // whole, also for a process that starts it just now
  return program;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { status } = spawnSync(buildLimits(), process.argv.slice(2), { stdio: "inherit" });
  process.exit(status ?? 1);
}
