import { FRAME_HEADER_BYTES } from "@sluice/core";
import { Random } from "./random.js";

const NOISE_BYTES = 1 << 17;
const noise = new Uint8Array(2 * NOISE_BYTES);
const random = new Random(0x51_01_ce);
for (let i = 0; i < noise.length; i++) noise[i] = random.below(256);

/**
 * Frame number `index` of a series: `bytes` long, header included. Its payload follows from both numbers, so that a receiver
 * can tell loss, doubling, reordering and damage.
 */
export function makeFrame(index: number, bytes: number): Uint8Array {
  const frame = new Uint8Array(bytes);
  const payload = bytes - FRAME_HEADER_BYTES;
  const view = new DataView(frame.buffer);
  view.setUint32(0, payload, true);
  view.setUint32(4, index, true);
  view.setUint32(8, (index ^ bytes) >>> 0, true);
  const start = (index * 7919 + bytes) % NOISE_BYTES;
  for (let at = FRAME_HEADER_BYTES; at < bytes; at += NOISE_BYTES) {
    frame.set(noise.subarray(start, start + Math.min(NOISE_BYTES, bytes - at)), at);
  }
  return frame;
}

/** Why `memory[start..end)` is not `makeFrame(index, bytes)`; undefined when it is. */
export function frameFault(
  memory: Uint8Array,
  start: number,
  end: number,
  index: number,
  bytes: number,
): string | undefined {
  if (end - start !== bytes) return `frame ${index} has ${end - start} bytes instead of ${bytes}`;
  const expected = makeFrame(index, bytes);
  if (Buffer.compare(memory.subarray(start, end), expected) === 0) return undefined;
  for (let i = 0; i < bytes; i++) {
    if (memory[start + i] !== expected[i]) return `frame ${index} of ${bytes} bytes differs at byte ${i}`;
  }
  return undefined;
}
