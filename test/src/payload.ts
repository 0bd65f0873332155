import type { Payload } from "./gen/grpc/testing/messages.js";
import { PayloadType } from "./gen/grpc/testing/messages.js";

let zeros = new Uint8Array(1 << 20);

/** A payload of `size` zero bytes; all payloads share their memory. */
export function payload(size: number): Payload {
  if (size > zeros.length) zeros = new Uint8Array(size);
  return { type: PayloadType.COMPRESSABLE, body: zeros.subarray(0, size) };
}

/** `size` bytes that differ from offset to offset and from seed to seed. */
export function pattern(size: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = seed | 1;
  for (let i = 0; i < words.length; i++) {
    // xorshift32 (Marsaglia 2003).
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}
