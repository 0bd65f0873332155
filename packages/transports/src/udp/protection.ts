/** What keeps packets secret and true, if the ends share a secret: `noise.ts`. */
export interface Protection {
  /** By how much `seal` lengthens a packet. */
  readonly tagBytes: number;
  /** Encrypts `memory[payload..end)` in place, and authenticates it and the header `memory[start..payload)`. Returns the new end. */
  seal(memory: Uint8Array, start: number, payload: number, end: number, number: number): number;
  /** What `seal` was given, in memory that is valid until the next call; undefined if it is not what the peer sealed. */
  open(
    memory: Uint8Array,
    start: number,
    payload: number,
    end: number,
    number: number,
  ): Uint8Array | undefined;
}
