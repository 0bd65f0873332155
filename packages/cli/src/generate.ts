import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix, relative } from "node:path";
import { buf, plugin } from "./buf.js";
import { GenerateError, fileError, problemAt } from "./error.js";
import { findInputs, type Inputs } from "./inputs.js";
import { checkNames } from "./names.js";
import { HEADER, rewrite } from "./rewrite.js";

/** ts-proto's options; `docs/protobuf.md` says what each does to the generated types. */
const PLUGIN_OPTIONS = [
  "outputServices=generic-definitions",
  "esModuleInterop=true",
  "importSuffix=.js",
  "forceLong=bigint",
  "oneof=unions-value",
  "useMapType=true",
  "useExactTypes=false",
];

export interface GenerateOptions {
  /** `.proto` files, and directories to search for them. */
  readonly inputs: readonly string[];
  /**
   * The directory to write to, made if missing. It belongs to this set of inputs: what an earlier run generated there
   * and this one does not is removed, and nothing else is touched.
   */
  readonly out: string;
  /** Directories that imports are looked up in, beside those that the inputs give. */
  readonly include?: readonly string[];
  /** Write nothing, only compare. */
  readonly check?: boolean;
}

/** What differed, as paths relative to `out`. All are empty when it was up to date. */
export interface GenerateResult {
  readonly missing: readonly string[];
  readonly stale: readonly string[];
  /** Generated once, but no longer by these inputs. */
  readonly extra: readonly string[];
  /** How many files the inputs give. */
  readonly files: number;
}

/**
 * Turn `.proto` files, and all that they import and use, into TypeScript. Rejects with a `GenerateError` when that is
 * impossible: a message per problem, each with file, line and column where it has one.
 */
export async function generate(options: GenerateOptions): Promise<GenerateResult> {
  if (options.out === "") {
    throw new GenerateError("the output directory's name is empty: name one, or . for the current directory");
  }
  const inputs = findInputs(options.inputs, options.include ?? []);
  const wanted = await compile(inputs);
  const present = findGenerated(options.out);
  const missing = [...wanted.keys()].filter((path) => !existsSync(join(options.out, path)));
  const stale = [...wanted].filter(
    ([path, code]) => !missing.includes(path) && code !== read(options.out, path),
  );
  const extra = present.filter((path) => !wanted.has(path));
  if (options.check !== true) {
    write(options.out, new Map([...missing.map((path) => [path, wanted.get(path)!] as const), ...stale]));
    remove(options.out, extra);
  }
  return { missing, stale: stale.map(([path]) => path), extra, files: wanted.size };
}

/** The generated files by path, relative to the output directory. */
async function compile(inputs: Inputs): Promise<Map<string, string>> {
  // buf wants all modules in one directory: a temporary one, which links to the roots.
  const workspace = makeWorkspace();
  try {
    inputs.roots.forEach((root, i) => symlinkSync(root, join(workspace, moduleName(i)), "junction"));
    const modules = inputs.roots.map((_, i) => ({ path: moduleName(i) }));
    writeFileSync(join(workspace, "buf.yaml"), JSON.stringify({ version: "v2", modules }));
    writeFileSync(
      join(workspace, "buf.gen.yaml"),
      JSON.stringify({
        version: "v2",
        plugins: [
          {
            local: plugin,
            out: "out",
            opt: PLUGIN_OPTIONS,
            strategy: "all",
            include_imports: true,
            include_wkt: true,
          },
        ],
        inputs: [
          { directory: ".", paths: inputs.files.map(({ root, path }) => `${moduleName(root)}/${path}`) },
        ],
      }),
    );
    const { exitCode, stderr } = await buf(["generate", "--error-format", "json"], {
      cwd: workspace,
      keepErrors: true,
      env: { BUF_CACHE_DIR: join(workspace, "cache") },
    });
    if (exitCode !== 0) throw new GenerateError(describe(stderr, inputs));
    return collect(join(workspace, "out"), inputs);
  } finally {
    rmSync(workspace, { recursive: true, force: true });
  }
}

function makeWorkspace(): string {
  try {
    return mkdtempSync(join(tmpdir(), "sluice-generate-"));
  } catch (error) {
    const { message } = fileError(`make a temporary directory in ${tmpdir()}`, error);
    throw new GenerateError(`${message}: set TMPDIR to a directory that can be written to`, { cause: error });
  }
}

function moduleName(root: number): string {
  return `root${root}`;
}

/** The files of the inputs themselves, and those that they import: ts-proto makes one for every import in a `.proto`. */
function collect(directory: string, inputs: Inputs): Map<string, string> {
  const files = new Map<string, string>();
  const queue = inputs.files.map(({ path }) => path.replace(/\.proto$/, ".ts"));
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (files.has(path)) continue;
    const code = readFileSync(join(directory, path), "utf8");
    files.set(path, code);
    for (const [, imported] of code.matchAll(/^(?:import .*|\}) from "(\.{1,2}\/.*)\.js";$/gm)) {
      queue.push(posix.join(posix.dirname(path), `${imported}.ts`));
    }
  }
  const sorted = new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
  checkNames(sorted, inputs);
  return new Map([...sorted].map(([path, code]) => [path, rewrite(code)]));
}

interface BufProblem {
  readonly path?: string;
  readonly start_line?: number;
  readonly start_column?: number;
  readonly message: string;
}

/** What buf reports, a problem per line in JSON, with the user's paths and the lines in question. */
function describe(stderr: string, inputs: Inputs): string {
  const problems = stderr
    .trim()
    .split("\n")
    .map((line) => {
      if (!line.startsWith("{")) return inputs.roots.reduce(restoreRoot, line);
      const {
        path = "",
        start_line: row = 0,
        start_column: column = 0,
        message,
      } = JSON.parse(line) as BufProblem;
      const [, root, name] = /^root(\d+)\/(.*)$/.exec(path) ?? [];
      if (root === undefined || name === undefined) return `${path}: ${message}`;
      const file = join(inputs.roots[Number(root)], name);
      const hint =
        message === "imported file does not exist"
          ? `\n    looked in ${inputs.roots.join(", ")}; add a directory with --include DIR`
          : "";
      return problemAt(file, { row, column }, message) + hint;
    });
  return problems.join("\n");
}

function restoreRoot(line: string, root: string, i: number): string {
  return line.replaceAll(`"${moduleName(i)}"`, root).replaceAll(`${moduleName(i)}/`, `${root}/`);
}

/** The files in `out` that an earlier run generated, relative to it. */
function findGenerated(out: string): string[] {
  let entries;
  try {
    entries = readdirSync(out, { recursive: true, withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw fileError(`write to ${out}`, error);
  }
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(out, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((path) => read(out, path).startsWith(HEADER));
}

function read(out: string, path: string): string {
  return readFileSync(join(out, path), "utf8");
}

function write(out: string, files: ReadonlyMap<string, string>): void {
  for (const [path, code] of files) {
    const file = join(out, path);
    try {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, code);
    } catch (error) {
      throw fileError(`write ${file}`, error);
    }
  }
}

/** Remove files, and the directories that they leave empty. */
function remove(out: string, paths: readonly string[]): void {
  for (const path of paths) {
    try {
      rmSync(join(out, path));
      for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) {
        if (readdirSync(join(out, parent)).length > 0) break;
        rmdirSync(join(out, parent));
      }
    } catch (error) {
      throw fileError(`remove ${join(out, path)}`, error);
    }
  }
}
