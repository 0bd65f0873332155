import { RpcError, Status } from "@sluice/core";
import { invalidAddress, splitAddress } from "../address.js";

/** What `sockaddr_un.sun_path` holds besides its terminating NUL (unix(7)); for an abstract name, besides its leading one. */
export const MAX_PATH_BYTES = 107;

export interface UnixAddress {
  /** An abstract name begins with @. */
  readonly path: string;
  readonly abstract: boolean;
}

/** Takes `unix:PATH` or `unix:@NAME` apart. */
export function parseUnixAddress(address: string): UnixAddress {
  const rest = splitAddress(address, "unix");
  const abstract = rest.startsWith("@");
  const name = abstract ? rest.slice(1) : rest;
  if (name === "") {
    throw invalidAddress(address, "write unix:PATH, or unix:@NAME for an abstract socket");
  }
  if (name.includes("\0")) throw invalidAddress(address, "it contains a NUL character");
  requireLength(name, abstract ? "name" : "path", address);
  return { path: rest, abstract };
}

/** Refuses a socket's path or abstract name that the kernel could not take. `what` says what it is. */
export function requireLength(name: string, what: string, address: string): void {
  const length = Buffer.byteLength(name);
  if (length <= MAX_PATH_BYTES) return;
  throw new RpcError(
    Status.INVALID_ARGUMENT,
    `the ${what} in ${address} has ${length} bytes; the kernel takes at most ${MAX_PATH_BYTES} ` +
      "for a Unix socket: choose a shorter one",
  );
}
