import { invalidAddress, splitAddress } from "../address.js";

/** NAME_MAX, without the slash (mq_overview(7)). */
const MAX_NAME_BYTES = 255;

/** The name in `mq:/NAME`, with its slash. */
export function parseMqAddress(address: string): string {
  const name = splitAddress(address, "mq");
  if (!/^\/[^/]+$/.test(name))
    throw invalidAddress(address, "write mq:/NAME, with one slash, at the beginning");
  if (name.includes("\0")) throw invalidAddress(address, "it contains a NUL character");
  if (name === "/." || name === "/..") throw invalidAddress(address, "that is the name of a directory");
  const length = Buffer.byteLength(name) - 1;
  if (length > MAX_NAME_BYTES) {
    throw invalidAddress(address, `the name has ${length} bytes; a queue's has at most ${MAX_NAME_BYTES}`);
  }
  return name;
}
