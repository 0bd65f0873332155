/**
 * Noise_NNpsk0_25519_AESGCM_SHA256 (The Noise Protocol Framework, revision 34, noiseprotocol.org/noise.html), on node:crypto:
 *
 *     -> psk, e
 *     <- e, ee
 *
 * Both ends prove that they know the secret, and agree on keys that nobody can find out later by it.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import type { Protection } from "./protection.js";

const NAME = Buffer.from("Noise_NNpsk0_25519_AESGCM_SHA256");
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;
const NOTHING = Buffer.alloc(0);
const CIPHER = "aes-256-gcm";

/** Before the 32 bytes of a key: RFC 8410, sections 4 and 7. */
const PRIVATE_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

/** Four zero bytes and the number, big-endian (section 12.3). */
function nonceOf(number: number, nonce = Buffer.alloc(NONCE_BYTES)): Buffer {
  nonce.writeUInt32BE(Math.floor(number / 0x1_0000_0000), 4);
  nonce.writeUInt32BE(number >>> 0, 8);
  return nonce;
}

function encrypt(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plain: Uint8Array): Buffer {
  const cipher = createCipheriv(CIPHER, key, nonce);
  cipher.setAAD(associated);
  const text = cipher.update(plain);
  cipher.final();
  return Buffer.concat([text, cipher.getAuthTag()]);
}

/** Undefined for what was not encrypted so. */
function decrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  sealed: Uint8Array,
): Buffer | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv(CIPHER, key, nonce);
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

/** A key pair of X25519; from its private half where a test gives it. */
export function keyPair(privateKey?: Uint8Array): KeyObject {
  if (privateKey === undefined) return generateKeyPairSync("x25519").privateKey;
  return createPrivateKey({
    key: Buffer.concat([PRIVATE_PREFIX, privateKey]),
    format: "der",
    type: "pkcs8",
  });
}

function publicBytes(own: KeyObject): Buffer {
  return createPublicKey(own).export({ format: "der", type: "spki" }).subarray(PUBLIC_PREFIX.length);
}

/** Undefined for a key of small order, with which there is no secret to agree on (RFC 7748, section 6.1). */
function agree(own: KeyObject, theirs: Uint8Array): Buffer | undefined {
  const key = Buffer.concat([PUBLIC_PREFIX, theirs]);
  try {
    return diffieHellman({
      privateKey: own,
      publicKey: createPublicKey({ key, format: "der", type: "spki" }),
    });
  } catch {
    return undefined;
  }
}

/** One end of the handshake: the initiator writes the first message and reads the second, the responder the other way round. */
export class Handshake {
  #chainingKey: Uint8Array = NAME;
  #hash: Uint8Array = NAME;
  #key: Uint8Array = NOTHING;
  #number = 0;
  readonly #own: KeyObject;
  readonly #initiator: boolean;
  #theirs: Uint8Array = NOTHING;

  constructor(initiator: boolean, secret: Uint8Array, prologue: Uint8Array, own = keyPair()) {
    this.#initiator = initiator;
    this.#own = own;
    this.#mixHash(prologue);
    const [chainingKey, hashed, key] = this.#derive(secret, 3);
    this.#chainingKey = chainingKey!;
    this.#mixHash(hashed!);
    this.#key = key!;
  }

  /** The hash that both ends have in common after the second message. */
  get hash(): Uint8Array {
    return this.#hash;
  }

  /** The next message, with `payload`. Undefined when the peer's key cannot be agreed with. */
  write(payload: Uint8Array): Buffer | undefined {
    const own = publicBytes(this.#own);
    this.#mixEphemeral(own);
    if (!this.#initiator && !this.#mixAgreement()) return undefined;
    const sealed = encrypt(this.#key, nonceOf(this.#number++), this.#hash, payload);
    this.#mixHash(sealed);
    return Buffer.concat([own, sealed]);
  }

  /** The payload of the peer's message; undefined if it is not from one that knows the secret. */
  read(message: Uint8Array): Buffer | undefined {
    if (message.length < KEY_BYTES + TAG_BYTES) return undefined;
    const before = [this.#chainingKey, this.#hash, this.#key, this.#number] as const;
    this.#theirs = Buffer.from(message.subarray(0, KEY_BYTES));
    this.#mixEphemeral(this.#theirs);
    if (!this.#initiator || this.#mixAgreement()) {
      const sealed = message.subarray(KEY_BYTES);
      const payload = decrypt(this.#key, nonceOf(this.#number++), this.#hash, sealed);
      this.#mixHash(sealed);
      if (payload !== undefined) return payload;
    }
    // Anyone may have sent it: the true one can still come.
    [this.#chainingKey, this.#hash, this.#key, this.#number] = before;
    return undefined;
  }

  /** The keys of both directions: of what this end sends, and of what it receives. */
  split(): { readonly send: Uint8Array; readonly receive: Uint8Array } {
    const [first, second] = this.#derive(NOTHING, 2);
    return this.#initiator ? { send: first!, receive: second! } : { send: second!, receive: first! };
  }

  /** In a pattern with a secret, a public key is mixed into the key as well (section 9.2). */
  #mixEphemeral(key: Uint8Array): void {
    this.#mixHash(key);
    this.#mixKey(key);
  }

  #mixAgreement(): boolean {
    const shared = agree(this.#own, this.#theirs);
    if (shared === undefined) return false;
    this.#mixKey(shared);
    return true;
  }

  #mixKey(material: Uint8Array): void {
    const [chainingKey, key] = this.#derive(material, 2);
    this.#chainingKey = chainingKey!;
    this.#key = key!;
    this.#number = 0;
  }

  #mixHash(data: Uint8Array): void {
    this.#hash = createHash("sha256").update(this.#hash).update(data).digest();
  }

  /** HKDF of RFC 5869 with the chaining key as salt and no info (section 4.3). */
  #derive(material: Uint8Array, count: 2 | 3): Uint8Array[] {
    const bytes = new Uint8Array(hkdfSync("sha256", material, this.#chainingKey, NOTHING, count * KEY_BYTES));
    return Array.from({ length: count }, (_, index) =>
      bytes.subarray(index * KEY_BYTES, (index + 1) * KEY_BYTES),
    );
  }
}

/** Rekey of section 4.2: one key leads to the next, and not back. */
function nextKey(key: Uint8Array): Uint8Array {
  const nonce = Buffer.alloc(NONCE_BYTES, 0xff).fill(0, 0, 4);
  return encrypt(key, nonce, NOTHING, Buffer.alloc(KEY_BYTES)).subarray(0, KEY_BYTES);
}

/**
 * Packets under one key. AES-GCM allows 2^23 of them without a doubt (RFC 9001, section 6.6); both ends go on to the next key by the
 * packet's number, so that nothing needs to be agreed on.
 */
const PACKETS_PER_KEY = 2 ** 20;

/**
 * Packets under the keys of a handshake: the packet's number is the nonce, its header the associated data (section 11.4). Of the
 * received, those of the last key are still read, and those of the next begin it once one proves to be true.
 */
export class NoiseProtection implements Protection {
  readonly tagBytes = TAG_BYTES;
  readonly #packetsPerKey: number;
  #sendKey: Uint8Array;
  #sendEpoch = 0;
  #receiveKey: Uint8Array;
  #receiveEpoch = 0;
  #lastReceiveKey: Uint8Array | undefined;
  readonly #nonce = Buffer.alloc(NONCE_BYTES);

  constructor(
    keys: { readonly send: Uint8Array; readonly receive: Uint8Array },
    packetsPerKey = PACKETS_PER_KEY,
  ) {
    this.#sendKey = keys.send;
    this.#receiveKey = keys.receive;
    this.#packetsPerKey = packetsPerKey;
  }

  seal(memory: Uint8Array, start: number, payload: number, end: number, number: number): number {
    const epoch = Math.floor(number / this.#packetsPerKey);
    while (this.#sendEpoch < epoch) {
      this.#sendKey = nextKey(this.#sendKey);
      this.#sendEpoch++;
    }
    const cipher = createCipheriv(CIPHER, this.#sendKey, nonceOf(number, this.#nonce));
    cipher.setAAD(memory.subarray(start, payload));
    memory.set(cipher.update(memory.subarray(payload, end)), payload);
    cipher.final();
    memory.set(cipher.getAuthTag(), end);
    return end + TAG_BYTES;
  }

  open(
    memory: Uint8Array,
    start: number,
    payload: number,
    end: number,
    number: number,
  ): Uint8Array | undefined {
    const ahead = Math.floor(number / this.#packetsPerKey) - this.#receiveEpoch;
    if (ahead < -1 || ahead > 1) return undefined;
    const key = ahead === 0 ? this.#receiveKey : ahead < 0 ? this.#lastReceiveKey : nextKey(this.#receiveKey);
    if (key === undefined) return undefined;
    const header = memory.subarray(start, payload);
    const opened = decrypt(key, nonceOf(number, this.#nonce), header, memory.subarray(payload, end));
    if (opened === undefined) return undefined;
    if (ahead > 0) {
      this.#lastReceiveKey = this.#receiveKey;
      this.#receiveKey = key;
      this.#receiveEpoch++;
    }
    // Not a Buffer, of which `slice` would be no copy.
    return new Uint8Array(opened.buffer, opened.byteOffset, opened.length);
  }
}
