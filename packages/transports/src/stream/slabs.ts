import { END, HELD, OWNER, START, type WriteSlab } from "./channel.js";

/** As in `@sluice/native`: room for the 256 KiB that a session keeps unsent at most, and one largest frame. */
const SLAB_BYTES = 320 * 1024;
/** Slabs kept for reuse: enough for the connections that are writing in one turn, few enough to forget about. */
const FREE_SLABS = 8;

/** The one buffer into which every channel of this thread that is not native reads. */
export const readSlab = new Uint8Array(SLAB_BYTES);

const free: WriteSlab[] = [];
let lastId = 0;

/** An id for a channel that is not native. */
export function nextId(): number {
  return ++lastId;
}

/** An empty write slab for the channel `owner`. */
export function takeSlab(owner: number): WriteSlab {
  const slab = free.pop() ?? { memory: new Uint8Array(SLAB_BYTES), words: new Int32Array(4) };
  const { words } = slab;
  words[START] = words[END] = words[HELD] = 0;
  words[OWNER] = owner;
  return slab;
}

/** Give a slab back. Its owner must not touch it again, and nothing may still read its memory. */
export function giveSlab(slab: WriteSlab): void {
  slab.words[OWNER] = 0;
  if (free.length < FREE_SLABS) free.push(slab);
}
