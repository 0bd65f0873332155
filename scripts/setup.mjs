/**
 * Everything between a fresh clone and a build: the dependencies (npm ci) and the native addon. Does nothing when both
 * are up to date. Uses plain Node, since nothing is installed when it starts.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { root, run, step } from "./step.mjs";

const MIN_NODE = 20;

if (Number.parseInt(process.versions.node, 10) < MIN_NODE) {
  console.error(
    `Sluice needs Node ${MIN_NODE} or newer; this is ${process.version}. See https://nodejs.org/`,
  );
  process.exit(1);
}

if (!dependenciesInstalled()) {
  await step("install dependencies (npm ci)", () =>
    run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], { env: { NX_DAEMON: "false" } }),
  );
}

if (!addonBuilt()) {
  const missing = missingTools();
  if (missing.length > 0) {
    console.warn(
      `no native addon: ${missing.join(", ")} not found. Going on with Node's own modules, which are slower and\n` +
        "have no peer credentials or abstract sockets. To build the addon: apt-get install g++ make python3",
    );
  } else {
    await step("build the native addon", () => run("npm", ["run", "build", "-w", "native"]));
  }
}

/**
 * Whether the folders that package-lock.json names hold what it says. Optional packages are those of other platforms. A copy of
 * a checkout may lack folders that npm has noted as installed.
 */
function dependenciesInstalled() {
  const installedLock = join(root, "node_modules/.package-lock.json");
  if (!existsSync(installedLock)) return false;
  const { packages: wanted } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const { packages: installed } = JSON.parse(readFileSync(installedLock, "utf8"));
  const identity = ({ version, integrity, bin }) => JSON.stringify([version, integrity, bin]);
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === "") return true;
    const found = installed[path];
    if (found === undefined) return entry.optional;
    return identity(found) === identity(entry) && existsSync(join(root, path));
  });
}

/** Whether the addon is newer than every file it is made of. */
function addonBuilt() {
  const native = join(root, "native");
  const built = newest(join(native, "build/Release"), (name) => name.endsWith(".node"));
  const sources = Math.max(
    newest(join(native, "src"), (name) => !name.endsWith(".ts")),
    newest(native, (name) => name === "binding.gyp"),
  );
  return built > 0 && built >= sources;
}

/** When the newest matching file under `directory` was changed, in milliseconds since the epoch; 0 if there is none. */
function newest(directory, matches = () => true) {
  if (!existsSync(directory)) return 0;
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && matches(entry.name))
    .reduce(
      (time, entry) => Math.max(time, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs),
      0,
    );
}

function missingTools() {
  const tools = [process.env.CXX ?? "g++", "make", process.env.PYTHON ?? "python3"];
  return tools.filter((tool) => spawnSync(tool, ["--version"], { stdio: "ignore" }).status !== 0);
}
