/**
 * A base class with `type`'s prototype and none of its constructor: what extends it is an instance of `type`, but
 * allocates nothing that `type` would.
 */
export function withoutConstructor<T extends object>(type: { readonly prototype: T }): new () => T {
  function Bare(): void {}
  Bare.prototype = type.prototype;
  return Bare as unknown as new () => T;
}

/** No bytes. Never handed to users, who could transfer it away. */
export const EMPTY: Uint8Array = new Uint8Array(0);

/** The value of every bytes field that is not set: one for all, since making one takes as long as a small message. */
export const emptyBytes: Uint8Array = new Uint8Array(0);

/*
 * The halves of a 64-bit integer, exchanged with BigInt through memory: no arithmetic on BigInt, and one allocation
 * when reading. The order of the halves is the machine's.
 */
export const signed64 = new BigInt64Array(1);
export const unsigned64 = new BigUint64Array(signed64.buffer);
export const halves = new Int32Array(signed64.buffer);
signed64[0] = 1n;
export const LOW = halves[0] === 1 ? 0 : 1;
export const HIGH = 1 - LOW;
