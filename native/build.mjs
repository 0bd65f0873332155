/**
 * Compile the addon into build/Release, or with --prebuilds into prebuilds/, for packing. Needs a C++20 compiler, make
 * and Python, and no network where Node's headers are installed beside it.
 */
import { spawnSync } from "node:child_process";
import { existsSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const prefix = dirname(dirname(process.execPath));
const env = { ...process.env };
// node-gyp downloads the headers unless it is told where they are.
if (existsSync(join(prefix, "include/node/node_api.h"))) env.npm_config_nodedir ??= prefix;
// In the repository, which has tests, no warning is let through; a user's compiler may have others.
if (existsSync(join(here, "test"))) env.CXXFLAGS = `-Werror ${env.CXXFLAGS ?? ""}`;

if (process.argv.includes("--prebuilds")) {
  run("prebuildify", ["--napi", "--strip", "--tag-libc"]);
} else {
  run("node-gyp", ["configure", "build", "--loglevel=error"]);
  // make leaves an addon alone that is up to date, but who asks whether to build compares it with every file in src/.
  const now = new Date();
  utimesSync(join(here, "build/Release/sluice.node"), now, now);
}

/** Runs a command that npm has put on the PATH, and ends with its status if it fails. */
function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: here, env, stdio: "inherit" });
  if (status === 0) return;
  if (error) console.error(`${command}: ${error.message}; run this by "npm run build"`);
  process.exit(status ?? 1);
}
