/**
 * Where things are in a segment: version 3 of docs/shared-memory.md, which says who writes each word and in what order.
 * Offsets in bytes; every word is a u32, on cache lines of its own but for the
 * states of the blocks, which are too seldom written to need that.
 */

/** What precedes the rings' data. */
export const HEADER_BYTES = 4096;

/** Each endpoint writes one ring: 0 is the listening side, 1 the connecting side. */
export type Endpoint = 0 | 1;

/** How many bytes were ever published in the ring that `writer` writes, mod 2^32. Its writer's. */
export function headOffset(writer: Endpoint): number {
  return 512 + writer * 1024;
}

/** How many bytes were ever taken from the ring that `writer` writes, mod 2^32. Its reader's. */
export function tailOffset(writer: Endpoint): number {
  return headOffset(writer) + 128;
}

/** How `endpoint` sleeps: see `AWAKE`. Set by itself, and taken down by whoever wakes it. */
export function sleepingOffset(endpoint: Endpoint): number {
  return 2560 + endpoint * 512;
}

/** For how many free bytes `endpoint` waits before it can write; 0 for none. */
export function waitingOffset(endpoint: Endpoint): number {
  return sleepingOffset(endpoint) + 128;
}

/** Where the ring that `writer` writes has its data, followed by the same data again. */
export function dataOffset(writer: Endpoint, capacity: number): number {
  return HEADER_BYTES + writer * 2 * capacity;
}

/** How many blocks each endpoint writes, if the segment has any. */
export const BLOCKS = 16;

/** Whether a block that `writer` writes is `USED`: set by its writer, and taken down by its reader. */
export function blockStateOffset(writer: Endpoint, block: number): number {
  return 3584 + writer * 256 + block * 16;
}

/** The values of a block's state. */
export const FREE = 0;
export const USED = 1;

/** Where the blocks begin, behind the rings. */
export function blocksOffset(capacity: number): number {
  return HEADER_BYTES + 4 * capacity;
}

/** Where among the blocks one that `writer` writes has its data. */
export function blockOffset(writer: Endpoint, block: number, blockBytes: number): number {
  return (writer * BLOCKS + block) * blockBytes;
}

/** A record whose first word has this bit stands for the block of the number in the other bits; the frame's size follows. */
export const BLOCK_RECORD = 0x8000_0000;
export const BLOCK_RECORD_BYTES = 8;

/** Not asleep: nobody need ring. The other values say by what to wake: 1 its doorbell, 2 its semaphore. */
export const AWAKE = 0;

/** Every record begins at a multiple of this. */
export const ALIGNMENT = 8;

/** A record's size: the frame with its padding. */
export function padded(frameBytes: number): number {
  return (frameBytes + ALIGNMENT - 1) & -ALIGNMENT;
}

/** Capacities that the rings of one segment may have: powers of two in this range, so that a frame of 16 KiB fits. */
export const MIN_CAPACITY = 64 * 1024;
export const MAX_CAPACITY = 1024 * 1024 * 1024;

/** A block is a multiple of this, up to a size that leaves room for the addresses of all. */
export const PAGE_BYTES = 4096;
export const MAX_BLOCK_BYTES = 64 * 1024 * 1024;
