import { existsSync, type Stats } from "node:fs";
import { lstat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { RpcError, Status } from "@sluice/core";
import { errorCode, systemError } from "../errors.js";

/**
 * Without the addon nobody vouches for a peer's user, so only a directory that no other user can enter will do: whoever
 * reaches a socket in it runs as this user (or as root).
 */
export async function requirePrivateDirectory(path: string, doing: string, address: string): Promise<void> {
  const directory = dirname(resolve(path));
  let stats;
  try {
    stats = await lstat(directory);
  } catch (error) {
    throw errorCode(error) === "ENOENT"
      ? missingDirectory(path, doing, address)
      : systemError(error, doing, address);
  }
  const fault = directoryFault(stats, "enter");
  if (fault === undefined) return;
  throw new RpcError(
    Status.PERMISSION_DENIED,
    `cannot ${doing} ${address}: without @sluice/native the peer's user cannot be checked, so the socket must be in a ` +
      `directory of this user with mode 0700, but ${directory} ${fault}; ` +
      'move the socket, or give the option allowPeer: "any" to go without a check',
  );
}

/** Why others than this user could have made a directory, or can `enter` it or `write` to it; undefined if they cannot. */
export function directoryFault(stats: Stats, others: "enter" | "write"): string | undefined {
  const own = process.geteuid!();
  const mode = stats.mode & 0o777;
  if (!stats.isDirectory()) return "is not a directory";
  if (stats.uid !== own) return `belongs to uid ${stats.uid}, and this process runs as uid ${own}`;
  if ((mode & (others === "enter" ? 0o077 : 0o022)) === 0) return undefined;
  return `can be ${others === "enter" ? "entered" : "written to"} by others (mode 0${mode.toString(8)})`;
}

/**
 * What ENOENT means while `doing` something that makes the file `path`: that its directory is missing, or else that this directory takes no files, as
 * those of /proc do.
 */
export function missingDirectory(path: string, doing: string, address: string): RpcError {
  const directory = dirname(resolve(path));
  return existsSync(directory)
    ? new RpcError(
        Status.INVALID_ARGUMENT,
        `cannot ${doing} ${address}: it could not be made in the directory ${directory}, although that exists (ENOENT); choose another`,
      )
    : new RpcError(Status.NOT_FOUND, `cannot ${doing} ${address}: the directory ${directory} does not exist`);
}
