/**
 * Private memory that records are copied to before anything looks at them. One is enough, except when a handler that is
 * looking at it takes from another ring meanwhile (a synchronous call).
 */
const BYTES = 128 * 1024;

export interface Scratch {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

const free: Scratch[] = [];

/** Holds any one frame, and at least 64 KiB. */
export function takeScratch(): Scratch {
  const scratch = free.pop();
  if (scratch !== undefined) return scratch;
  const buffer = new ArrayBuffer(BYTES);
  return { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
}

export function giveBack(scratch: Scratch): void {
  if (free.length < 2) free.push(scratch);
}
