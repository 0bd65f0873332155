/**
 * Compile everything, in the only order that works: the sluice command, then the stubs that it generates, then all
 * projects and their tests. What is up to date is left alone.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root, run, step } from "./step.mjs";

const cli = join(root, "packages/cli");
const workspaces = ["native", ...children("packages"), ...children("examples"), "test"];

/** Who has stubs: a workspace with .proto files of its own, and the integration tests, from the repository's. */
const stubs = [
  { from: "proto", to: "test/src/gen" },
  ...workspaces.map((workspace) => ({ from: `${workspace}/proto`, to: `${workspace}/src/gen` })),
].filter(({ from }) => existsSync(join(root, from)));

const projects = workspaces
  .flatMap((workspace) => [workspace, `${workspace}/test`])
  .filter((project) => existsSync(join(root, project, "tsconfig.json")));

await step("compile the sluice command", () => compile(["packages/cli"]));
const command = join(cli, JSON.parse(readFileSync(join(cli, "package.json"), "utf8")).bin.sluice);
for (const { from, to } of stubs) {
  const stamp = join(root, "node_modules/.cache/sluice", to.replaceAll("/", "-"));
  const inputs = digest(join(root, from), join(cli, "dist"));
  if (existsSync(join(root, to)) && existsSync(stamp) && readFileSync(stamp, "utf8") === inputs) continue;
  await step(`generate ${to} from ${from}`, async () => {
    await run(process.execPath, [command, "generate", from, "--out", to]);
    mkdirSync(join(stamp, ".."), { recursive: true });
    writeFileSync(stamp, inputs);
  });
}
await step(`compile ${projects.length} projects`, () => compile(projects));

function compile(paths) {
  return run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-b", ...paths]);
}

function children(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder)).map((name) => `${folder}/${name}`);
}

/** A hash of every file under `folders`, by name and content. */
function digest(...folders) {
  const hash = createHash("sha256");
  for (const folder of folders) {
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.name === ".tsbuildinfo") continue;
      const path = join(entry.parentPath ?? entry.path, entry.name);
      hash.update(`${path}\0`).update(readFileSync(path));
    }
  }
  return hash.digest("hex");
}
