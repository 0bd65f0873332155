import { END, OWNER, START, type WriteSlab } from "./channel.js";

/** Room for the 256 KiB that a session keeps unsent at most, and one largest frame. */
const WRITE_SLAB_BYTES = 320 * 1024;
const READ_SLAB_BYTES = 256 * 1024;
/** Slabs kept for reuse: enough for the connections that are writing in one turn, few enough to forget about. */
const FREE_SLABS = 8;

/** The one buffer into which every channel of this thread that is not native reads. */
export const readSlab = new Uint8Array(READ_SLAB_BYTES);

const free: WriteSlab[] = [];
let lastOwner = 0;

/** A write slab for a new owner, empty. */
export function takeSlab(): WriteSlab {
  const slab = free.pop() ?? { memory: new Uint8Array(WRITE_SLAB_BYTES), words: new Int32Array(3) };
  lastOwner = (lastOwner + 1) | 0;
  slab.words[START] = 0;
  slab.words[END] = 0;
  slab.words[OWNER] = lastOwner;
  return slab;
}

/** Give a slab back. Its owner must not touch it again, and nothing may still read its memory. */
export function giveSlab(slab: WriteSlab): void {
  slab.words[OWNER] = 0;
  if (free.length < FREE_SLABS) free.push(slab);
}
