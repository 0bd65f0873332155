/**
 * Run the tests with each supported release line of Node, from npm's `node` package, in a temporary folder: neither the
 * lockfile nor node_modules change. Builds first, with the Node that runs this, whose tests are run first, unless `--others`.
 * The other arguments go to scripts/test.mjs.
 */
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { root, run, step } from "./step.mjs";

const { values, positionals: suites } = parseArgs({
  allowPositionals: true,
  options: { others: { type: "boolean", default: false } },
});

const VERSIONS = ["22.23.3", "24.21.0", "26.10.0"];

await step("set up", () => run(process.execPath, [join(root, "scripts/setup.mjs")]));
await step("build", () => run(process.execPath, [join(root, "scripts/build.mjs")]));

const scratch = mkdtempSync(join(tmpdir(), "sluice-matrix-"));
// Some tests run Node as another user.
chmodSync(scratch, 0o755);
process.once("exit", () => rmSync(scratch, { recursive: true, force: true }));
const failed = [];
if (!values.others) await tryOn(process.execPath);
for (const version of VERSIONS) {
  const prefix = join(scratch, version);
  const install = ["install", "--prefix", prefix, "--no-save", "--no-audit", "--no-fund", `node@${version}`];
  await step(`install node@${version}`, () => run("npm", install, { cwd: scratch }));
  await tryOn(join(prefix, "node_modules/node/bin/node"));
  rmSync(prefix, { recursive: true });
}
console.log(failed.length === 0 ? "all versions passed" : `failed on ${failed.join(", ")}`);
process.exitCode = failed.length === 0 ? 0 : 1;

/** Run the tests with the Node at `binary`. */
async function tryOn(binary) {
  const version = execFileSync(binary, ["--version"], { encoding: "utf8" }).trim();
  console.log(`\ntests on Node ${version}`);
  const ended = await new Promise((resolve, reject) => {
    const tests = [join(root, "scripts/test.mjs"), ...suites];
    const child = spawn(binary, tests, { stdio: "inherit" });
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve(signal ?? code));
  });
  console.log(`Node ${version}: ${ended === 0 ? "passed" : "failed"}`);
  if (ended !== 0) failed.push(version);
}
