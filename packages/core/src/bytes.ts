/** Little-endian integers, byte by byte: in memory of any alignment, and faster for a few bytes than a DataView. */

export function readU16(memory: Uint8Array, at: number): number {
  return memory[at]! | (memory[at + 1]! << 8);
}

export function readU32(memory: Uint8Array, at: number): number {
  return (memory[at]! | (memory[at + 1]! << 8) | (memory[at + 2]! << 16) | (memory[at + 3]! << 24)) >>> 0;
}

/** Each returns where what follows goes. */
export function writeU16(memory: Uint8Array, at: number, value: number): number {
  memory[at] = value;
  memory[at + 1] = value >>> 8;
  return at + 2;
}

export function writeU32(memory: Uint8Array, at: number, value: number): number {
  memory[at] = value;
  memory[at + 1] = value >>> 8;
  memory[at + 2] = value >>> 16;
  memory[at + 3] = value >>> 24;
  return at + 4;
}
