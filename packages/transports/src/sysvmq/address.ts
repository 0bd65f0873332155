import { invalidAddress, splitAddress } from "../address.js";

/** The key in `sysvmq:KEY`, as the signed number that key_t is. */
export function parseSysvmqAddress(address: string): number {
  const text = splitAddress(address, "sysvmq");
  const key = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : NaN;
  if (!(key >= 1 && key <= 0xffff_ffff)) {
    throw invalidAddress(
      address,
      "write sysvmq:KEY, with a number from 1 to 0xffffffff as ftok(3) makes them",
    );
  }
  return key | 0;
}
