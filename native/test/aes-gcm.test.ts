import { createCipheriv, getCiphers } from "node:crypto";
import { expect } from "chai";
import type { AesGcm } from "@sluice/native";
import { native, needsAddon } from "./support.js";

const KEY = Buffer.alloc(32, 0x5a);
const TAG_BYTES = 16;

function cipher(key: Uint8Array = KEY): AesGcm {
  return new native.AesGcm!(key);
}

describe("AES-256-GCM of the addon", function () {
  needsAddon(this);

  it("is there wherever Node has OpenSSL", () => {
    expect(getCiphers()).to.include("aes-256-gcm");
    expect(native.AesGcm).to.be.a("function");
  });

  it("encrypts in place as node:crypto does, whatever it did before", () => {
    const one = cipher();
    for (const [index, bytes] of [0, 1, 64, 16_320, 5].entries()) {
      const memory = Buffer.alloc(bytes + 15 + TAG_BYTES, index + 1);
      const other = createCipheriv("aes-256-gcm", KEY, Buffer.from(`${"0".repeat(23)}${index}`, "hex"));
      other.setAAD(memory.subarray(0, 15));
      const expected = Buffer.concat([
        memory.subarray(0, 15),
        other.update(memory.subarray(15, 15 + bytes)),
        other.final(),
        other.getAuthTag(),
      ]);
      one.seal(memory, 0, 15, 15 + bytes, index);
      expect(memory.equals(expected), `${bytes} bytes`).to.equal(true);
      // One key goes both ways, and after one that is forged.
      const forged = Buffer.from(memory);
      forged[forged.length - 1]! ^= 1;
      expect(one.open(forged, 0, 15, forged.length, index)).to.equal(false);
      expect(one.open(memory, 0, 15, memory.length, index)).to.equal(true);
      expect(memory.subarray(0, 15 + bytes).every((byte) => byte === index + 1)).to.equal(true);
    }
  });

  it("leaves no error behind that others would take for theirs", () => {
    const memory = new Uint8Array(64);
    expect(cipher().open(memory, 0, 15, 64, 0)).to.equal(false);
    const other = createCipheriv("aes-256-gcm", KEY, Buffer.alloc(12));
    expect(Buffer.concat([other.update("text"), other.final()])).to.have.length(4);
  });

  it("opens nothing that is too short for a tag", () => {
    const memory = new Uint8Array(64);
    for (let end = 15; end < 15 + TAG_BYTES; end++) {
      expect(cipher().open(memory, 0, 15, end, 0), `${end - 15} bytes`).to.equal(false);
    }
  });

  it("rejects what is not a packet or a key, and changes nothing then", () => {
    const one = cipher();
    const memory = new Uint8Array(64).fill(9);
    const ranges: [number, number, number, number][] = [
      [-1, 0, 10, 0],
      [0, 5, 4, 0],
      [6, 5, 20, 0],
      [0, 0, 65, 0],
      [0, 0, 1.5, 0],
      [0, NaN, 10, 0],
      [0, 0, 10, -1],
      [0, 0, 10, 2 ** 53],
      [0, 0, 10, Infinity],
    ];
    for (const range of ranges) {
      expect(() => one.seal(memory, ...range), `seal ${range.join()}`).to.throw(
        TypeError,
        "must be an integer",
      );
      expect(() => one.open(memory, ...range), `open ${range.join()}`).to.throw(
        TypeError,
        "must be an integer",
      );
    }
    expect(() => one.seal(memory, 0, 0, 64 - TAG_BYTES + 1, 0)).to.throw(TypeError, "end must be");
    expect(() => one.seal(new Uint8Array(TAG_BYTES - 1), 0, 0, 0, 0)).to.throw(
      TypeError,
      "no room for the tag",
    );
    for (const value of [undefined, null, "text", [1, 2], new DataView(new ArrayBuffer(64))]) {
      expect(() => one.seal(value as never, 0, 0, 0, 0)).to.throw(TypeError, "Uint8Array");
      expect(() => one.open(value as never, 0, 0, 16, 0)).to.throw(TypeError, "Uint8Array");
      expect(() => new native.AesGcm!(value as never)).to.throw(TypeError, "32 bytes");
    }
    for (const bytes of [0, 16, 31, 33]) {
      expect(() => cipher(new Uint8Array(bytes))).to.throw(TypeError, "32 bytes");
    }
    expect(memory.every((byte) => byte === 9)).to.equal(true);
  });

  it("copies the key", () => {
    const key = Buffer.from(KEY);
    const one = cipher(key);
    key.fill(0);
    const memory = new Uint8Array(32);
    one.seal(memory, 0, 0, 16, 1);
    expect(cipher().open(memory, 0, 0, 32, 1)).to.equal(true);
  });
});
