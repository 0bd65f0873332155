/**
 * Where the rest of a partial frame waits for its next bytes. Short rests get memory of their own; long ones a pooled
 * buffer, because a bulk transfer leaves one at nearly every read. Nothing is held between frames.
 */
const SHORT_BYTES = 1024;
const FREE_BUFFERS = 8;

const free: Uint8Array[] = [];

/** A private copy of `memory[start..end)`, at the front of the result. `capacity` bounds the length of any rest. */
export function save(memory: Uint8Array, start: number, end: number, capacity: number): Uint8Array {
  if (end - start <= SHORT_BYTES) return memory.slice(start, end);
  let buffer = free.pop();
  if (buffer === undefined || buffer.length < capacity) buffer = new Uint8Array(capacity);
  buffer.set(memory.subarray(start, end));
  return buffer;
}

/** Give back what `save` returned. */
export function release(buffer: Uint8Array): void {
  if (buffer.length > SHORT_BYTES && free.length < FREE_BUFFERS) free.push(buffer);
}
