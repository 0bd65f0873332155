import { readdirSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { GenerateError, fileError } from "./error.js";

/** The `.proto` files to generate from, and the directories that their import paths are relative to. */
export interface Inputs {
  /** Absolute. None contains another, unless the user named both by `include`. */
  readonly roots: readonly string[];
  readonly files: readonly ProtoFile[];
}

export interface ProtoFile {
  /** Index of its root. */
  readonly root: number;
  /** Its import path: relative to its root, with `/`. */
  readonly path: string;
}

/**
 * Find what `inputs` (files, and directories to search) and `include` (directories) mean. A file belongs to the first
 * `include` directory that contains it, else to the input directory that contains it, else to its own directory.
 */
export function findInputs(inputs: readonly string[], include: readonly string[]): Inputs {
  const roots = include.map((directory) => {
    if (!stat(directory).isDirectory())
      throw new GenerateError(`--include ${directory}: it is not a directory`);
    return resolve(directory);
  });
  const targets = inputs.map((input) => ({ path: resolve(input), isDirectory: stat(input).isDirectory() }));
  // Directories first, and outer ones before inner ones, so that files and inner directories find their root.
  const directories = targets.filter((target) => target.isDirectory).map((target) => target.path);
  const parents = targets.filter((target) => !target.isDirectory).map((target) => dirname(target.path));
  for (const candidates of [directories, parents]) {
    for (const directory of candidates.sort((a, b) => a.length - b.length)) {
      if (!roots.some((root) => isWithin(directory, root))) roots.push(directory);
    }
  }

  const files = new Map<string, ProtoFile>();
  const sources = new Map<string, string>();
  for (const { path: target, isDirectory } of targets) {
    for (const source of isDirectory ? findProtoFiles(target) : [target]) {
      if (!source.endsWith(".proto")) throw new GenerateError(`${source}: it is not a .proto file`);
      const root = roots.findIndex((directory) => isWithin(source, directory));
      const path = relative(roots[root], source).split(sep).join("/");
      const other = sources.get(path);
      if (other !== undefined && other !== source) {
        throw new GenerateError(
          `${other} and ${source} have the same import path, ${path}: ` +
            "name a directory that contains both with --include, or generate them into different directories",
        );
      }
      sources.set(path, source);
      files.set(path, { root, path });
    }
  }
  if (files.size === 0) throw new GenerateError(`no .proto file in ${inputs.join(", ")}`);
  return { roots, files: [...files.values()] };
}

function stat(path: string): { isDirectory(): boolean } {
  try {
    return statSync(path);
  } catch (error) {
    throw fileError(`read ${path}`, error);
  }
}

function findProtoFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return entry.name === "node_modules" ? [] : findProtoFiles(path);
      return entry.name.endsWith(".proto") ? [path] : [];
    });
}

function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
