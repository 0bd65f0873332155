import { EMPTY } from "./base.js";
import { platform } from "./platform.js";

/*
 * V8 keeps typed arrays of up to 64 bytes in its own heap; larger ones take an ArrayBuffer each, which costs 300 ns.
 * So copies of moderate size are views of a shared pool, as small Buffers are in Node.
 */
const ON_HEAP_BYTES = 64;
const POOLED_BYTES = 2048;
const POOL_BYTES = 16 * 1024;

let pool = EMPTY;
let used = 0;

/** A copy of `memory[start..end)`; `memory` is a plain Uint8Array. */
export function copy(memory: Uint8Array, start: number, end: number): Uint8Array {
  const length = end - start;
  if (length <= ON_HEAP_BYTES) return memory.slice(start, end);
  const result = length <= POOLED_BYTES ? allocatePooled(length) : platform.allocate(length);
  result.set(memory.subarray(start, end));
  return result;
}

function allocatePooled(length: number): Uint8Array {
  if (platform.allocatePool === undefined) return new Uint8Array(length);
  if (pool.length - used < length) {
    pool = platform.allocatePool(POOL_BYTES);
    used = 0;
  }
  const result = new Uint8Array(pool.buffer, pool.byteOffset + used, length);
  used = (used + length + 7) & ~7; // Aligned, so that views of numbers can be made of it.
  return result;
}
