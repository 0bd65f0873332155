import { readFileSync } from "node:fs";
import { relative } from "node:path";

/** A problem for the user to solve: the message says what is wrong, where, and what to do. */
export class GenerateError extends Error {
  override readonly name = "GenerateError";
}

/** `error` as a `GenerateError` that says what was being done when the file system refused. */
export function fileError(action: string, error: unknown): GenerateError {
  const { code, message } = error as NodeJS.ErrnoException;
  const causes: Record<string, string> = {
    ENOENT: "no such file or directory",
    EACCES: "permission denied",
    EPERM: "permission denied",
    EROFS: "read-only file system",
    ENOSPC: "no space left on the device",
    ENOTDIR: "it, or part of its path, is a file, not a directory",
    EEXIST: "part of its path is a file, not a directory",
    EISDIR: "it is a directory",
  };
  return new GenerateError(`cannot ${action}: ${causes[code ?? ""] ?? message}`, { cause: error });
}

/** A problem in a file, as the user knows it, with the line in question. */
export function problemAt(
  file: string,
  at: { row: number; column: number } | undefined,
  problem: string,
): string {
  const name = relative(process.cwd(), file);
  if (at === undefined) return `${name}: ${problem}`;
  const line = readFileSync(file, "utf8").split("\n")[at.row - 1]?.trim() ?? "";
  return `${name}:${at.row}:${at.column}: ${problem}\n    ${line}`;
}
