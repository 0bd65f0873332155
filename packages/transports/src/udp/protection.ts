/** What keeps packets secret and true, if the ends share a secret: `noise.ts`. */
export interface Protection {
  /** By how much `seal` lengthens a packet. */
  readonly tagBytes: number;
  /** Encrypts `memory[payload..end)` in place, and authenticates it and the header `memory[start..payload)`. Returns the new end. */
  seal(memory: Uint8Array, start: number, payload: number, end: number, number: number): number;
  /**
   * Puts back in place what `seal` was given, and returns the end of that; `FORGED` if `memory[start..end)` is not what the peer
   * sealed: nothing is left of it then.
   */
  open(memory: Uint8Array, start: number, payload: number, end: number, number: number): number;
}

export const FORGED = -1;
