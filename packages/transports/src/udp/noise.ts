/**
 * Noise_NNpsk0_25519_AESGCM_SHA256 (The Noise Protocol Framework, revision 34, noiseprotocol.org/noise.html), its handshake on node:crypto:
 *
 *     -> psk, e
 *     <- e, ee
 *
 * Both ends prove that they know the secret, and agree on keys that nobody can find out later by it.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import {
  createCryptoCipher,
  decrypt,
  encrypt,
  NONCE_BYTES,
  nonceOf,
  TAG_BYTES,
  type CreatePacketCipher,
  type PacketCipher,
} from "./packet-cipher.js";
import { FORGED, type Protection } from "./protection.js";

const NAME = Buffer.from("Noise_NNpsk0_25519_AESGCM_SHA256");
const KEY_BYTES = 32;
const NOTHING = Buffer.alloc(0);

/** Before the 32 bytes of a key: RFC 8410, sections 4 and 7. */
const PRIVATE_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

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

/**
 * Packets under one key. AES-GCM allows 2^23 of them without a doubt (RFC 9001, section 6.6); both ends go on to the next key by the
 * packet's number, so that nothing needs to be agreed on.
 */
const PACKETS_PER_KEY = 2 ** 20;

/** A key and what uses it. */
class Key {
  readonly cipher: PacketCipher;
  readonly #bytes: Uint8Array;
  readonly #create: CreatePacketCipher;

  constructor(bytes: Uint8Array, create: CreatePacketCipher) {
    this.#bytes = bytes;
    this.#create = create;
    this.cipher = create(bytes);
  }

  /** Rekey of section 4.2: one key leads to the next, and not back. */
  next(): Key {
    const nonce = Buffer.alloc(NONCE_BYTES, 0xff).fill(0, 0, 4);
    const sealed = encrypt(this.#bytes, nonce, NOTHING, Buffer.alloc(KEY_BYTES));
    return new Key(sealed.subarray(0, KEY_BYTES), this.#create);
  }
}

/**
 * Packets under the keys of a handshake: the packet's number is the nonce, its header the associated data (section 11.4). Of the
 * received, those of the last key are still read, and those of the next begin it once one proves to be true.
 */
export class NoiseProtection implements Protection {
  readonly tagBytes = TAG_BYTES;
  readonly #packetsPerKey: number;
  #send: Key;
  #sendEpoch = 0;
  #receive: Key;
  #receiveEpoch = 0;
  #lastReceive: Key | undefined;
  /** Made for the first packet that claims to be sealed with it, and kept if that is forged, as all after it may be. */
  #nextReceive: Key | undefined;

  constructor(
    keys: { readonly send: Uint8Array; readonly receive: Uint8Array },
    createCipher = createCryptoCipher,
    packetsPerKey = PACKETS_PER_KEY,
  ) {
    this.#send = new Key(keys.send, createCipher);
    this.#receive = new Key(keys.receive, createCipher);
    this.#packetsPerKey = packetsPerKey;
  }

  seal(memory: Uint8Array, start: number, payload: number, end: number, number: number): number {
    const epoch = Math.floor(number / this.#packetsPerKey);
    for (; this.#sendEpoch < epoch; this.#sendEpoch++) this.#send = this.#send.next();
    this.#send.cipher.seal(memory, start, payload, end, number);
    return end + TAG_BYTES;
  }

  open(memory: Uint8Array, start: number, payload: number, end: number, number: number): number {
    const ahead = Math.floor(number / this.#packetsPerKey) - this.#receiveEpoch;
    if (ahead < -1 || ahead > 1 || end - payload < TAG_BYTES) return FORGED;
    if (ahead > 0) this.#nextReceive ??= this.#receive.next();
    const key = ahead === 0 ? this.#receive : ahead < 0 ? this.#lastReceive : this.#nextReceive;
    if (key === undefined || !key.cipher.open(memory, start, payload, end, number)) return FORGED;
    if (ahead > 0) {
      this.#lastReceive = this.#receive;
      this.#receive = key;
      this.#nextReceive = undefined;
      this.#receiveEpoch++;
    }
    return end - TAG_BYTES;
  }
}
