import type { TransportOptions } from "@sluice/core";
import { invalidOption } from "../options.js";
import type { SegmentKind } from "@sluice/native";
import { MAX_BLOCK_BYTES, MAX_CAPACITY, MIN_CAPACITY, PAGE_BYTES } from "./layout.js";

/** What fits into each ring unless the option `capacity` says otherwise, in bytes. */
export const DEFAULT_CAPACITY = 256 * 1024;

/** The bytes of each block, where there are blocks, unless the option `block` says otherwise: a message of 1 MiB with all its metadata. */
export const DEFAULT_BLOCK_BYTES = 1024 * 1024 + 128 * 1024;

/** The option `capacity`: bytes of each ring of a connection. */
export function capacityOption(options: TransportOptions): number {
  const value = options["capacity"];
  if (value === undefined) return DEFAULT_CAPACITY;
  const valid =
    Number.isInteger(value) &&
    (value as number) >= MIN_CAPACITY &&
    (value as number) <= MAX_CAPACITY &&
    Number.isInteger(Math.log2(value as number));
  if (!valid) {
    throw invalidOption("capacity", value, `a power of two from ${MIN_CAPACITY} to ${MAX_CAPACITY} (bytes)`);
  }
  return value as number;
}

/** The option `block`: bytes of each block of a connection, of which only a memfd has any. */
export function blockOption(options: TransportOptions, kind: SegmentKind): number {
  const value = options["block"];
  if (value === undefined) return kind === "memfd" ? DEFAULT_BLOCK_BYTES : 0;
  if (kind !== "memfd" && value !== 0)
    throw invalidOption("block", value, `0: only a segment of "memfd" has blocks`);
  const valid =
    Number.isInteger(value) &&
    (value as number) >= 0 &&
    (value as number) <= MAX_BLOCK_BYTES &&
    (value as number) % PAGE_BYTES === 0;
  if (!valid) {
    throw invalidOption("block", value, `a multiple of ${PAGE_BYTES} up to ${MAX_BLOCK_BYTES} (bytes), or 0`);
  }
  return value as number;
}
