import { fstatSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { RpcError, Status } from "@sluice/core";
import type { Native } from "@sluice/native";
import { invalidAddress, splitAddress } from "../address.js";
import { errorCode, systemError } from "../errors.js";
import { directoryFault, missingDirectory } from "../unix/directory.js";

/** Where the rendezvous of `fifo:PATH` is. */
export interface FifoAddress {
  /** Absolute. */
  readonly path: string;
  /** The last part of it. */
  readonly name: string;
}

export function parseFifoAddress(address: string): FifoAddress {
  const given = splitAddress(address, "fifo");
  if (given === "" || given.endsWith("/"))
    throw invalidAddress(address, "write fifo:PATH, the path of a FIFO");
  if (given.includes("\0")) throw invalidAddress(address, "it contains a NUL character");
  const path = resolve(given);
  return { path, name: basename(path) };
}

/**
 * Opens the directory of the rendezvous. Whoever can write to it could put FIFOs of his own in the place of others, so it must be
 * one that only this user can write to.
 */
export function openDirectory(native: Native, path: string, doing: string, address: string): number {
  const parent = dirname(path);
  let directory;
  try {
    directory = native.openDirectory(parent);
  } catch (error) {
    throw errorCode(error) === "ENOENT"
      ? missingDirectory(path, doing, address)
      : systemError(error, doing, address);
  }
  const fault = directoryFault(fstatSync(directory), "write");
  if (fault === undefined) return directory;
  native.closeFd(directory);
  throw new RpcError(
    Status.PERMISSION_DENIED,
    `cannot ${doing} ${address}: the directory of a FIFO must be one that only this user can write to, but ` +
      `${parent} ${fault}; choose another`,
  );
}
