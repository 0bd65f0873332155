/** What a package takes on disk, with all that it needs. */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface SizeResult {
  readonly implementation: string;
  readonly packageName: string;
  /** The package itself and those it depends on. */
  readonly packages: number;
  readonly bytes: number;
}

interface Manifest {
  readonly name: string;
  readonly files?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

/** Of what is installed beside this module; undefined if `packageName` is not. */
export function installedSize(packageName: string): Pick<SizeResult, "packages" | "bytes"> | undefined {
  const root = findPackage(packageName, dirname(fileURLToPath(import.meta.url)));
  if (root === undefined) return undefined;
  const found = new Set([root]);
  for (const directory of found) {
    for (const name of dependencies(readManifest(directory))) {
      const dependency = findPackage(name, directory);
      if (dependency !== undefined) found.add(dependency);
    }
  }
  let bytes = 0;
  for (const directory of found) bytes += ownBytes(directory);
  return { packages: found.size, bytes };
}

/** Where `import` from a module in `directory` would find the package, links resolved. */
export function findPackage(name: string, directory: string): string | undefined {
  for (let at = directory; ; at = dirname(at)) {
    const candidate = join(at, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return realpathSync(candidate);
    if (at === dirname(at)) return undefined;
  }
}

export function readManifest<T = Manifest>(directory: string): T {
  return JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as T;
}

/** Those that npm installs with it. Optional ones may be missing. */
function dependencies(manifest: Manifest): string[] {
  const peers = Object.keys(manifest.peerDependencies ?? {}).filter(
    (name) => manifest.peerDependenciesMeta?.[name]?.optional !== true,
  );
  return [
    ...Object.keys(manifest.dependencies ?? {}),
    ...Object.keys(manifest.optionalDependencies ?? {}),
    ...peers,
  ];
}

/** All files of an installed package; of a workspace, those that it would publish, and the addon that it has built. */
function ownBytes(directory: string): number {
  if (/[\\/]node_modules[\\/]/.test(directory)) return treeBytes(directory);
  const { files = [] } = readManifest(directory);
  return ["package.json", ...files, "build/Release/sluice.node"]
    .map((name) => join(directory, name))
    .filter((path) => existsSync(path))
    .reduce((sum, path) => sum + treeBytes(path), 0);
}

/** Without the packages nested in it, which are counted by themselves. */
function treeBytes(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.size;
  return readdirSync(path)
    .filter((name) => name !== "node_modules")
    .reduce((sum, name) => sum + treeBytes(join(path, name)), 0);
}
