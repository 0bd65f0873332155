import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "chai";

const execute = promisify(execFile);

const repository = fileURLToPath(new URL("../../..", import.meta.url));
const STEP_TIMEOUT_MS = 240_000;
/** What npm and a shell script need: everything but a compiler. */
const TOOLS = [
  "sh",
  "bash",
  "env",
  "cat",
  "ls",
  "mkdir",
  "rm",
  "cp",
  "mv",
  "ln",
  "dirname",
  "basename",
  "uname",
  "sed",
  "flock",
];

interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  readonly exports?: Record<string, string | Record<string, string>>;
  readonly bin?: Record<string, string>;
}

interface Pack {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** What a user would write. */
const PROGRAM = {
  "echo.proto": `
    syntax = "proto3";
    package echo;
    service Echo { rpc Say(Words) returns (Words); }
    message Words { string text = 1; }
  `,
  "main.ts": `
    import { connect, createServer } from "@sluice/node";
    import { EchoDefinition } from "./gen/echo.js";

    const server = createServer();
    server.add(EchoDefinition, { say: (request) => request });
    const { address } = await server.listen(process.argv[2]!);
    const channel = await connect(address);
    const { text } = await channel.client(EchoDefinition).say({ text: "echoed" });
    // Only the addon can ask the kernel who the peer is.
    console.log(text, channel.peer?.uid === process.getuid!() ? "by the native addon" : "by Node's own modules");
    await channel.close();
    await server.close();
  `,
  "tsconfig.json": JSON.stringify({
    compilerOptions: { target: "es2023", module: "nodenext", strict: true, types: ["node"] },
    files: ["main.ts"],
  }),
};

/** The packages that are published. */
const packages = ["native", ...readdirSync(join(repository, "packages")).map((name) => `packages/${name}`)]
  .filter((folder) => existsSync(join(repository, folder, "package.json")))
  .map((folder) => ({
    folder,
    manifest: JSON.parse(readFileSync(join(repository, folder, "package.json"), "utf8")) as Manifest,
  }))
  .filter(({ manifest }) => manifest.private !== true);

describe("the packages, packed and installed outside the workspace", function () {
  this.timeout(STEP_TIMEOUT_MS);

  const scratch = mkdtempSync(join(tmpdir(), "sluice-pack-"));
  const project = join(scratch, "project");
  const bin = join(scratch, "bin");
  const packs = new Map<string, Pack>();

  before("build the addon for publishing, and pack", async () => {
    // Quiet, because what the packages' own scripts print would be mixed with npm's JSON.
    const quiet = ["--json", "--foreground-scripts=false", "--pack-destination", scratch];
    const workspaces = packages.flatMap(({ folder }) => ["-w", folder]);
    const { stdout } = await run("npm", ["pack", ...quiet, ...workspaces], repository);
    const listed = JSON.parse(stdout) as (Pack & { name: string })[];
    for (const pack of listed) packs.set(pack.name, pack);
  });

  after(() => rmSync(scratch, { recursive: true }));

  for (const { folder, manifest } of packages) {
    it(`${manifest.name} has what it names, its licence and its README, and no tests`, () => {
      const files = packs.get(manifest.name)!.files.map(({ path }) => path);
      expect(files).to.include.members(["LICENSE", "README.md", "package.json"]);
      const named = [...Object.values(manifest.exports ?? {}), ...Object.values(manifest.bin ?? {})]
        .flatMap((target) => (typeof target === "string" ? [target] : Object.values(target)))
        .map((path) => path.replace(/^\.\//, ""));
      expect(named, folder).to.not.be.empty;
      expect(files).to.include.members(named);
      expect(files.filter((path) => /\.test\.|^test\/|tsbuildinfo|^build\//.test(path))).to.deep.equal([]);
    });
  }

  it("install with no compiler to be found", async () => {
    mkdirSync(bin);
    for (const tool of TOOLS) symlinkSync(which(tool), join(bin, tool));
    symlinkSync(process.execPath, join(bin, "node"));
    for (const tool of ["npm", "npx"]) symlinkSync(which(tool), join(bin, tool));

    mkdirSync(project);
    writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
    const tarballs = [...packs.values()].map(({ filename }) => join(scratch, filename));
    await install([
      "install",
      "--prefer-offline",
      "--no-audit",
      "--no-fund",
      ...tarballs,
      "rxjs@7.8.2",
      "@types/node@20.19.43",
    ]);
    const names = readdirSync(join(project, "node_modules/@sluice")).map((name) => `@sluice/${name}`);
    expect(names).to.have.members(packages.map(({ manifest }) => manifest.name));
  });

  it("generate, compile and call over a Unix socket, with the prebuilt addon", async () => {
    for (const [name, text] of Object.entries(PROGRAM)) writeFileSync(join(project, name), text);
    await install(["exec", "--no", "--", "sluice", "generate", "echo.proto", "--out", "gen"]);
    await run("node", [join(repository, "node_modules/typescript/bin/tsc"), "-p", project], project, bin);
    const { stdout } = await run("node", ["main.js", `unix:${join(scratch, "echo.sock")}`], project, bin);
    console.log(`        ${stdout.trim()}`);
    expect(stdout).to.equal("echoed by the native addon\n");
  });

  it("call without the addon", async () => {
    const { stdout } = await run("node", ["main.js", `unix:${join(scratch, "echo.sock")}`], project, bin, {
      SLUICE_NATIVE: "0",
    });
    expect(stdout).to.equal("echoed by Node's own modules\n");
  });

  function install(args: readonly string[]) {
    return run("npm", args, project, bin);
  }
});

/** Run a command in `cwd`, finding programs only in `path` if it is given. */
function run(
  command: string,
  args: readonly string[],
  cwd: string,
  path?: string,
  env: NodeJS.ProcessEnv = {},
) {
  // Without what the npm that runs these tests tells its children: they would take its settings for their own.
  const inherited = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  return execute(path === undefined ? command : join(path, command), args, {
    cwd,
    timeout: STEP_TIMEOUT_MS,
    maxBuffer: 16 * 1024 * 1024,
    env: { ...Object.fromEntries(inherited), ...(path === undefined ? {} : { PATH: path }), ...env },
  });
}

function which(tool: string): string {
  const folders = [dirname(process.execPath), ...(process.env["PATH"] ?? "").split(delimiter)];
  const found = folders.map((folder) => join(folder, tool)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${tool} is not on PATH`);
  return found;
}
