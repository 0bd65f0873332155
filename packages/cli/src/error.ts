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
