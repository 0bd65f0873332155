import { lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { RpcError, Status } from "@sluice/core";
import { invalidAddress, splitAddress } from "../address.js";
import { errorCode, systemError } from "../errors.js";
import { directoryFault } from "../unix/directory.js";
import { requireLength, type UnixAddress } from "../unix/address.js";

/** Where the control socket of `shm:NAME` or `shm:/PATH` is. */
export interface ShmAddress extends UnixAddress {
  /** The directory of names; undefined for a path. */
  readonly directory: string | undefined;
}

export function parseShmAddress(address: string): ShmAddress {
  const name = splitAddress(address, "shm");
  if (name === "")
    throw invalidAddress(address, "write shm:NAME, or shm:/PATH for a control socket elsewhere");
  const isPath = name.startsWith("/");
  if (isPath && name.includes("\0")) throw invalidAddress(address, "it contains a NUL character");
  if (!isPath) requireName(name, address);
  const directory = isPath ? undefined : nameDirectory();
  const path = directory === undefined ? name : join(directory, name);
  requireLength(path, isPath ? "path" : `control socket ${path}`, address);
  return { path, abstract: false, directory };
}

/** Refuses a name that could not be one of a file in the directory of names. */
export function requireName(name: string, address: string): void {
  if (name.includes("\0")) throw invalidAddress(address, "it contains a NUL character");
  if (name.includes("/") || name === "." || name === "..") {
    throw invalidAddress(address, "a name has no slash, and is not . or ..; a path begins with a slash");
  }
}

/**
 * Where the control sockets of names are: below `XDG_RUNTIME_DIR`, which belongs to the user alone and goes with his session
 * (XDG Base Directory Specification), or else in a directory of the user's in /tmp.
 */
export function nameDirectory(): string {
  const runtime = process.env["XDG_RUNTIME_DIR"];
  return runtime?.startsWith("/") ? join(runtime, "sluice") : `/tmp/sluice-${process.geteuid!()}`;
}

/** Makes the directory of names if there is none. */
export function makeDirectory(directory: string, address: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw systemError(error, `make ${directory} for`, address);
  }
}

/** Refuses a directory of names that somebody else could have made or can write to. Without one, nobody listens there. */
export function requireOwnDirectory(directory: string, doing: string, address: string): void {
  let stats;
  try {
    stats = lstatSync(directory);
  } catch (error) {
    if (errorCode(error) === "ENOENT") {
      throw new RpcError(
        Status.UNAVAILABLE,
        `cannot ${doing} ${address}: nobody has listened at a name yet (there is no ${directory})`,
      );
    }
    throw systemError(error, doing, address);
  }
  const fault = directoryFault(stats, "enter");
  if (fault === undefined) return;
  throw new RpcError(
    Status.PERMISSION_DENIED,
    `cannot ${doing} ${address}: ${directory} ${fault}; remove it, or have XDG_RUNTIME_DIR name a directory of this user`,
  );
}
