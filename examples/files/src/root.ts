import type { Dirent } from "node:fs";
import { lstat, mkdir, opendir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { RpcError, Status } from "@sluice/node";

/** Folders that are not listed or searched: what tools make, not what people write. */
const SKIPPED = new Set([".git", "node_modules", "dist", "build", "coverage"]);

/**
 * A folder that paths from callers cannot leave: each is resolved, symbolic links and all, and compared with the root
 * before it is used. This trusts whoever else can write below the root not to swap a folder for a link in between.
 */
export class Root {
  private constructor(readonly path: string) {}

  static async open(path: string): Promise<Root> {
    return new Root(await realpath(path));
  }

  /** The real path of an existing file or folder. Throws NOT_FOUND or PERMISSION_DENIED. */
  async existing(path: string): Promise<string> {
    const real = await realpath(this.#below(path)).catch((error: NodeJS.ErrnoException) => {
      throw fileError(error, path);
    });
    this.#check(real, path);
    return real;
  }

  /** The real path of a regular file. Throws as `existing`, and FAILED_PRECONDITION for what is not one. */
  async file(path: string): Promise<string> {
    const real = await this.existing(path);
    if (!(await stat(real)).isFile()) {
      throw new RpcError(Status.FAILED_PRECONDITION, `${JSON.stringify(path)} is not a regular file`);
    }
    return real;
  }

  /** Where to write the file `path`, with the folders above it made. Throws PERMISSION_DENIED. */
  async writable(path: string): Promise<string> {
    const wanted = this.#below(path);
    if (wanted === this.path) throw new RpcError(Status.INVALID_ARGUMENT, "a file needs a name");
    try {
      // Links are followed by mkdir too, so look where the deepest folder that exists really is before making others.
      this.#check(await deepestExisting(dirname(wanted)), path);
      await mkdir(dirname(wanted), { recursive: true });
      const folder = await realpath(dirname(wanted));
      this.#check(folder, path);
      return join(folder, basename(wanted));
    } catch (error) {
      throw fileError(error, path);
    }
  }

  /** The regular files below a folder, a folder's own first, each in order of name. Follows no symbolic links. */
  async *walk(path: string): AsyncGenerator<{ path: string; size: number }> {
    yield* this.#walk(await this.existing(path));
  }

  async *#walk(folder: string): AsyncGenerator<{ path: string; size: number }> {
    const entries: Dirent[] = [];
    for await (const entry of await opendir(folder)) entries.push(entry);
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries.filter((one) => one.isFile())) {
      const file = join(folder, entry.name);
      yield { path: relative(this.path, file).replaceAll(sep, "/"), size: (await lstat(file)).size };
    }
    for (const entry of entries.filter((one) => one.isDirectory() && !SKIPPED.has(one.name))) {
      yield* this.#walk(join(folder, entry.name));
    }
  }

  #below(path: string): string {
    if (path.includes("\0")) throw new RpcError(Status.INVALID_ARGUMENT, "a path has no NUL characters");
    const absolute = resolve(this.path, path);
    this.#check(absolute, path);
    return absolute;
  }

  #check(absolute: string, asked: string): void {
    const [first] = relative(this.path, absolute).split(sep);
    if (first === "..") {
      throw new RpcError(
        Status.PERMISSION_DENIED,
        `${JSON.stringify(asked)} is outside the folder that is served`,
      );
    }
  }
}

async function deepestExisting(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return deepestExisting(dirname(path));
  }
}

/** The status that a caller sees for what the file system refused: with the path it asked for, not the server's. */
export function fileError(error: unknown, path: string): RpcError {
  if (error instanceof RpcError) return error;
  const { code } = error as NodeJS.ErrnoException;
  const name = JSON.stringify(path);
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return new RpcError(Status.NOT_FOUND, `there is no ${name}`, { cause: error });
    case "EACCES":
    case "EPERM":
      return new RpcError(Status.PERMISSION_DENIED, `the server may not use ${name}`, { cause: error });
    case "EISDIR":
      return new RpcError(Status.FAILED_PRECONDITION, `${name} is a folder`, { cause: error });
    default:
      return new RpcError(Status.INTERNAL, `${name}: ${code ?? String(error)}`, { cause: error });
  }
}
