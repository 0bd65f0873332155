import { expect } from "chai";
import { native, nativeUnavailable } from "@sluice/native";
import { Handshake, keyPair, NoiseProtection } from "#transports/udp/noise.js";
import { nativePlatform } from "#transports/platform/native/index.js";
import { createCryptoCipher, TAG_BYTES, type CreatePacketCipher } from "#transports/udp/packet-cipher.js";
import { FORGED } from "#transports/udp/protection.js";

const hex = (text: string): Buffer => Buffer.from(text, "hex");

/** Of the test vectors of cacophony (github.com/haskell-cryptography/cacophony, vectors/cacophony.txt): those of this very protocol. */
const VECTOR = {
  prologue: hex("4a6f686e2047616c74"),
  secret: hex("54686973206973206d7920417573747269616e20706572737065637469766521"),
  initiator: hex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"),
  responder: hex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"),
  hash: "9f3b1f9afd7767767b5b9d1069844a6154fdbdcc36dfb3e31c0fffc5c973d530",
  handshake: [
    {
      payload: hex("4c756477696720766f6e204d69736573"),
      message:
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79447c37a89fc17813788d30df2d59501d6066f5f8aecc3406bbd9829f2d24a531b1",
    },
    {
      payload: hex("4d757272617920526f746862617264"),
      message:
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088432f29d79368ef9de4e1ae7a362fb05bf0ad668e026bf5714554497b3a720461",
    },
  ],
  /** In turns, the initiator first. */
  transport: [
    ["462e20412e20486179656b", "7c01e898a6201f36aecee532e29cd0b7f8ffa29d3366ad0dce39a6"],
    ["4361726c204d656e676572", "a9ff535aace3db6a1da1a7fb00fe2de2622bb373abad9fb42c00e0"],
    [
      "4a65616e2d426170746973746520536179",
      "6cfc49a3e65472edc2d0152abe5ce950170a8a47c959f30bd48b5f0aacf29adbfd",
    ],
    [
      "457567656e2042f6686d20766f6e2042617765726b",
      "9bc86e6d974ed21ba04604a94aa68de21677eb409ead070c0cd569b069ee19ba142aa4c1a9",
    ],
  ],
} as const;

function ends(secrets = [VECTOR.secret, VECTOR.secret]): [Handshake, Handshake] {
  return [
    new Handshake(true, secrets[0]!, VECTOR.prologue, keyPair(VECTOR.initiator)),
    new Handshake(false, secrets[1]!, VECTOR.prologue, keyPair(VECTOR.responder)),
  ];
}

/** A sealed packet with a header of 15 bytes. */
function seal(protection: NoiseProtection, number: number, payload: string): Uint8Array {
  const memory = new Uint8Array(15 + payload.length + protection.tagBytes);
  memory.set(Buffer.from(payload), 15);
  protection.seal(memory, 0, 15, 15 + payload.length, number);
  return memory;
}

function open(protection: NoiseProtection, number: number, packet: Uint8Array): string | undefined {
  const memory = packet.slice();
  const end = protection.open(memory, 0, 15, memory.length, number);
  if (end === FORGED) return undefined;
  expect(memory.slice(0, 15), "the header").to.deep.equal(packet.slice(0, 15));
  return Buffer.from(memory.subarray(15, end)).toString();
}

/** What packets are encrypted by, where it is here. */
const CIPHERS: [string, CreatePacketCipher | undefined][] = [
  ["node:crypto", createCryptoCipher],
  ["the addon", native?.AesGcm && nativePlatform(native).createPacketCipher],
];

describe("Noise_NNpsk0_25519_AESGCM_SHA256", () => {
  it("makes the messages of the published test vector", () => {
    const [initiator, responder] = ends();
    const [first, second] = VECTOR.handshake;
    const one = initiator.write(first.payload)!;
    expect(one.toString("hex")).to.equal(first.message);
    expect(responder.read(one)).to.deep.equal(first.payload);
    const other = responder.write(second.payload)!;
    expect(other.toString("hex")).to.equal(second.message);
    expect(initiator.read(other)).to.deep.equal(second.payload);
    for (const end of [initiator, responder]) {
      expect(Buffer.from(end.hash).toString("hex")).to.equal(VECTOR.hash);
    }
  });

  it("reads nothing from one that does not know the secret, and the true message after it", () => {
    const [initiator, responder] = ends();
    const [stranger] = ends([Buffer.alloc(32, 1), VECTOR.secret]);
    expect(responder.read(stranger.write(Buffer.from("hello"))!)).to.equal(undefined);
    expect(responder.read(Buffer.alloc(10))).to.equal(undefined);
    expect(responder.read(initiator.write(Buffer.from("hello"))!)?.toString()).to.equal("hello");
    const answer = responder.write(Buffer.from("and back"))!;
    const damaged = Buffer.from(answer);
    damaged[50]! ^= 1;
    expect(initiator.read(damaged)).to.equal(undefined);
    expect(initiator.read(answer)?.toString()).to.equal("and back");
  });

  it("refuses a public key with which there is nothing to agree on", () => {
    const [, responder] = ends();
    // The point of order 1 (RFC 7748, section 6.1), by one who knows the secret: the first message needs no agreement.
    const evil = new Handshake(true, VECTOR.secret, VECTOR.prologue, keyPair(VECTOR.initiator));
    const message = evil.write(Buffer.alloc(0))!;
    expect(responder.read(message)).to.not.equal(undefined);
    const [initiator] = ends();
    initiator.write(Buffer.alloc(0));
    expect(initiator.read(Buffer.concat([Buffer.alloc(32), message.subarray(32)]))).to.equal(undefined);
  });
});

for (const [name, createCipher] of CIPHERS) {
  describe(`packets with a secret, encrypted by ${name}`, () => {
    before(function () {
      if (createCipher === undefined) {
        console.log(`    skipped: ${nativeUnavailable}`);
        this.skip();
      }
    });

    /** The packets of both ends after a handshake. */
    function protectedEnds(packetsPerKey?: number): [NoiseProtection, NoiseProtection] {
      const [initiator, responder] = ends();
      const [first, second] = VECTOR.handshake;
      responder.read(initiator.write(first.payload)!);
      initiator.read(responder.write(second.payload)!);
      return [
        new NoiseProtection(initiator.split(), createCipher, packetsPerKey),
        new NoiseProtection(responder.split(), createCipher, packetsPerKey),
      ];
    }

    it("are those of the published test vector", () => {
      const protections = protectedEnds();
      for (const [index, [payload, message]] of VECTOR.transport.entries()) {
        const [from, to] = index % 2 === 0 ? protections : [...protections].reverse();
        // There, the associated data is empty, and each direction counts from 0.
        const number = Math.floor(index / 2);
        const memory = new Uint8Array(message.length / 2);
        memory.set(hex(payload));
        expect(from!.seal(memory, 0, 0, payload.length / 2, number)).to.equal(memory.length);
        expect(Buffer.from(memory).toString("hex")).to.equal(message);
        const end = to!.open(memory, 0, 0, memory.length, number);
        expect(Buffer.from(memory.subarray(0, end)).toString("hex")).to.equal(payload);
      }
    });

    it("are the same by the other cipher, of every length and under every number", () => {
      const [cipher, other] = [createCipher!, createCryptoCipher].map((create) => create(VECTOR.secret));
      for (const number of [
        0,
        1,
        255,
        256,
        2 ** 31,
        2 ** 32,
        2 ** 32 + 1,
        2 ** 48 - 1,
        Number.MAX_SAFE_INTEGER,
      ]) {
        for (const bytes of [0, 1, 15, 16, 17, 1200, 16_320]) {
          // With something on both sides that must stay as it is.
          const plain = Uint8Array.from(
            { length: 3 + 15 + bytes + TAG_BYTES + 3 },
            (_, index) => index * 7 + number,
          );
          const [one, two] = [plain.slice(), plain.slice()];
          cipher!.seal(one, 3, 18, 18 + bytes, number);
          other!.seal(two, 3, 18, 18 + bytes, number);
          expect(Buffer.compare(one, two), `${bytes} bytes, number ${number}`).to.equal(0);
          expect(other!.open(one, 3, 18, 18 + bytes + TAG_BYTES, number)).to.equal(true);
          expect(cipher!.open(two, 3, 18, 18 + bytes + TAG_BYTES, number)).to.equal(true);
          for (const opened of [one, two]) {
            opened.set(plain.subarray(18 + bytes, 18 + bytes + TAG_BYTES), 18 + bytes);
            expect(Buffer.compare(opened, plain), `${bytes} bytes, number ${number}`).to.equal(0);
          }
        }
      }
    });

    it("opens only what is whole, under its own number, from the other end", () => {
      const [initiator, responder] = protectedEnds();
      const packet = seal(initiator, 7, "seven");
      expect(open(responder, 7, packet)).to.equal("seven");
      expect(open(responder, 8, packet)).to.equal(undefined);
      expect(open(initiator, 7, packet), "reflected").to.equal(undefined);
      for (let index = 0; index < packet.length; index++) {
        const damaged = packet.slice();
        damaged[index]! ^= 0x40;
        expect(open(responder, 7, damaged), `byte ${index} changed`).to.equal(undefined);
        expect(open(responder, 7, packet.slice(0, index)), `cut to ${index} bytes`).to.equal(undefined);
      }
    });

    it("goes on to the next key by the packets' numbers, and still reads what is late", () => {
      const [initiator, responder] = protectedEnds(4);
      const packets = Array.from({ length: 14 }, (_, number) => seal(initiator, number, `packet ${number}`));
      // Across a change of keys, and each key's last after the next key's first.
      for (const number of [0, 1, 4, 2, 3, 5, 8, 6, 11, 12, 9, 13]) {
        expect(open(responder, number, packets[number]!), `packet ${number}`).to.equal(`packet ${number}`);
      }
      expect(open(responder, 7, packets[7]!), "of the key before the last").to.equal(undefined);
      const [one] = protectedEnds();
      const [other] = protectedEnds(4);
      expect(seal(one, 9, "same"), "another key").to.not.deep.equal(seal(other, 9, "same"));
      // A number of the future, that is not sealed so, changes nothing.
      expect(open(responder, 16, packets[13]!)).to.equal(undefined);
      expect(open(responder, 13, packets[13]!)).to.equal("packet 13");
    });

    it("makes the next key once, however many packets claim to be sealed with it", () => {
      let made = 0;
      const counting: CreatePacketCipher = (key) => (made++, (createCipher ?? createCryptoCipher)(key));
      const keys = { send: VECTOR.secret, receive: VECTOR.secret };
      const protection = new NoiseProtection(keys, counting, 4);
      for (let forged = 0; forged < 10; forged++) {
        expect(open(protection, 4, new Uint8Array(100))).to.equal(undefined);
      }
      expect(made).to.equal(3);
      expect(open(protection, 4, seal(protection, 4, "true"))).to.equal("true");
    });
  });
}
