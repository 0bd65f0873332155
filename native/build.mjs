/**
 * Compile the addon into build/Release; with --prebuild also put a copy into prebuilds/, where the packed package has
 * it. Needs a C++20 compiler, make and Python; and the network, unless Node's headers are installed beside it.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const prefix = dirname(dirname(process.execPath));
const env = { ...process.env };
// node-gyp downloads the headers unless it is told where they are.
if (existsSync(join(prefix, "include/node/node_api.h"))) env.npm_config_nodedir ??= prefix;
// In the repository, which has tests, no warning is let through; a user's compiler may have others.
if (existsSync(join(here, "test"))) env.CXXFLAGS = `-Werror ${env.CXXFLAGS ?? ""}`;

run("node-gyp", ["configure", "build", "--jobs=max", "--loglevel=error"]);
const built = join(here, "build/Release/sluice.node");
// make leaves an addon alone that is up to date, but who asks whether to build compares it with every file in src/.
utimesSync(built, new Date(), new Date());

if (process.argv.includes("--prebuild")) {
  // The names that node-gyp-build looks for.
  const libc = existsSync("/etc/alpine-release") ? "musl" : "glibc";
  const directory = join(here, `prebuilds/${process.platform}-${process.arch}`);
  const prebuilt = join(directory, `@sluice+native.${libc}.node`);
  mkdirSync(directory, { recursive: true });
  copyFileSync(built, `${prebuilt}.new`);
  run("strip", ["--strip-unneeded", `${prebuilt}.new`]);
  renameSync(`${prebuilt}.new`, prebuilt); // whole, also for a process that loads it just now
}

/** Runs a command that npm has put on the PATH, and ends with its status if it fails. */
function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: here, env, stdio: "inherit" });
  if (status === 0) return;
  if (error)
    console.error(`${command}: ${error.message}. Run this by "npm run build", which finds node-gyp.`);
  process.exit(status ?? 1);
}
