import { createCipheriv, createDecipheriv } from "node:crypto";

/** Encrypts and authenticates packets under one key, where they are: AES-256-GCM, whose tags have 16 bytes. */
export interface PacketCipher {
  /** Encrypts `memory[payload..end)`, authenticates it and the header `memory[start..payload)`, and puts the tag behind `end`. */
  seal(memory: Uint8Array, start: number, payload: number, end: number, number: number): void;
  /** Whether `seal` made `memory[start..end)`. If so, what it was given is there, up to `end - TAG_BYTES`; if not, nothing is. */
  open(memory: Uint8Array, start: number, payload: number, end: number, number: number): boolean;
}

/** The key has 32 bytes. */
export type CreatePacketCipher = (key: Uint8Array) => PacketCipher;

export const TAG_BYTES = 16;
export const NONCE_BYTES = 12;
const ALGORITHM = "aes-256-gcm";

/** Four zero bytes and the number, big-endian (The Noise Protocol Framework, section 12.3). */
export function nonceOf(number: number, nonce = Buffer.alloc(NONCE_BYTES)): Buffer {
  nonce.writeUInt32BE(Math.floor(number / 0x1_0000_0000), 4);
  nonce.writeUInt32BE(number >>> 0, 8);
  return nonce;
}

/** Encrypts `memory[start..end)`, and puts the tag behind `end`. */
function encryptInPlace(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  memory: Uint8Array,
  start: number,
  end: number,
): void {
  const cipher = createCipheriv(ALGORITHM, key, nonce);
  cipher.setAAD(associated);
  memory.set(cipher.update(memory.subarray(start, end)), start);
  cipher.final();
  memory.set(cipher.getAuthTag(), end);
}

/** The cipher text and its tag. */
export function encrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  plain: Uint8Array,
): Buffer {
  const sealed = Buffer.alloc(plain.length + TAG_BYTES);
  sealed.set(plain);
  encryptInPlace(key, nonce, associated, sealed, 0, plain.length);
  return sealed;
}

/** Undefined for what was not encrypted so. */
export function decrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  sealed: Uint8Array,
): Buffer | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv(ALGORITHM, key, nonce);
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
  try {
    decipher.final();
  } catch {
    // There is only one reason: the tag differs.
    return undefined;
  }
  return plain;
}

/** On `node:crypto`, which makes new objects for each packet: ten times the time of the addon's for a short one. */
class CryptoCipher implements PacketCipher {
  readonly #key: Uint8Array;
  readonly #nonce = Buffer.alloc(NONCE_BYTES);

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  seal(memory: Uint8Array, start: number, payload: number, end: number, number: number): void {
    const header = memory.subarray(start, payload);
    encryptInPlace(this.#key, nonceOf(number, this.#nonce), header, memory, payload, end);
  }

  open(memory: Uint8Array, start: number, payload: number, end: number, number: number): boolean {
    const header = memory.subarray(start, payload);
    const plain = decrypt(this.#key, nonceOf(number, this.#nonce), header, memory.subarray(payload, end));
    if (plain === undefined) return false;
    memory.set(plain, payload);
    return true;
  }
}

export const createCryptoCipher: CreatePacketCipher = (key) => new CryptoCipher(key);
