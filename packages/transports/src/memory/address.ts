import { invalidAddress, splitAddress } from "../address.js";

/** The name in `memory:NAME`. */
export function parseMemoryAddress(address: string): string {
  const name = splitAddress(address, "memory");
  if (name === "") throw invalidAddress(address, "the name is missing: write memory:NAME");
  return name;
}
