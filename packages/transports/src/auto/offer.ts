/**
 * What a server of `auto:NAME` says about itself: a file in the directory of names, which belongs to its user alone. Its clients
 * read there at which addresses they find it.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { RpcError, Status } from "@sluice/core";
import { splitAddress, invalidAddress } from "../address.js";
import { errorCode, systemError } from "../errors.js";
import { nameDirectory, requireName } from "../shm/address.js";
import { requireLength } from "../unix/address.js";

/** Proofs that both ends have read the file, for a carrier that knows nobody's user: in hexadecimal. */
export interface Secrets {
  readonly server: string;
  readonly client: string;
}

export interface Offer {
  /** The fastest first. */
  readonly addresses: readonly string[];
  readonly secrets: Secrets;
}

/** Where the files of `auto:NAME` are. */
export interface AutoAddress {
  readonly directory: string;
  readonly offer: string;
  readonly shm: string;
  readonly unix: string;
}

export function parseAutoAddress(address: string): AutoAddress {
  const name = splitAddress(address, "auto");
  if (name === "") throw invalidAddress(address, "write auto:NAME");
  requireName(name, address);
  const directory = nameDirectory();
  const stem = join(directory, name);
  const unix = `${stem}.sock`;
  requireLength(unix, `Unix socket ${unix}`, address);
  return { directory, offer: `${stem}.auto`, shm: `${stem}.shm`, unix };
}

/** Puts an offer at `path`, whole at any time. */
export function writeOffer(path: string, offer: Offer): void {
  const made = `${path}.new`;
  // Of a server that was killed here.
  rmSync(made, { force: true });
  writeFileSync(made, JSON.stringify(offer), { mode: 0o600, flag: "wx" });
  renameSync(made, path);
}

/** Longer than any offer. */
const MAX_BYTES = 4096;

/** What the server of `address` offers. Throws UNAVAILABLE if there is nothing, or nothing of this kind. */
export function readOffer(path: string, address: string): Offer {
  let fd;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw systemError(error, "connect to", address);
    throw new RpcError(
      Status.UNAVAILABLE,
      `cannot connect to ${address}: nobody listens there (there is no ${path})`,
      { cause: error },
    );
  }
  try {
    const stats = fstatSync(fd);
    const text = stats.isFile() && stats.size <= MAX_BYTES ? readFileSync(fd, "utf8") : "";
    const { addresses, secrets } = JSON.parse(text) as Partial<Offer>;
    if (
      Array.isArray(addresses) &&
      addresses.every(isText) &&
      isSecret(secrets?.server) &&
      isSecret(secrets?.client)
    ) {
      return { addresses, secrets } as Offer;
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw systemError(error, "connect to", address);
  } finally {
    closeSync(fd);
  }
  throw new RpcError(
    Status.UNAVAILABLE,
    `cannot connect to ${address}: ${path} is not what a server of auto: writes; remove it, and start the server again`,
  );
}

const isText = (value: unknown): value is string => typeof value === "string";
const isSecret = (value: unknown): value is string => isText(value) && /^[0-9a-f]{64}$/.test(value);
