import { BinaryReader as StockReader, WireType } from "@bufbuild/protobuf/wire";
import { DecodeError, MessageReader, MessageWriter } from "@sluice/core/protobuf";
import { expect } from "chai";
import { loadCases, type GeneratedCodec } from "./codecs.js";
import type { Field, Schema } from "./schema.js";

const field = (number: number, label: Field["label"], type: Field["type"], packed = false): Field => {
  return { name: `f${number}`, number, type, label, key: "string", packed };
};

/** A schema with a field for each thing that can be malformed. */
const SCHEMA: Schema = {
  syntax: "proto2",
  package: "malformed",
  messages: [
    {
      name: "M0",
      fields: [
        field(1, "optional", "int32"),
        field(2, "optional", "string"),
        field(3, "optional", "bytes"),
        field(4, "optional", { message: 0, group: false }),
        field(5, "optional", { message: 0, group: true }),
        field(6, "repeated", "fixed32", true),
        field(7, "repeated", "uint32", true),
        field(8, "optional", "uint32"),
        field(9, "map", "int32"),
      ],
    },
  ],
};

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));

describe("MessageReader", () => {
  let codec: GeneratedCodec;
  const decode = (input: Uint8Array) => codec.decode(new MessageReader(input));

  before(async function () {
    this.timeout(60_000);
    codec = (await loadCases([SCHEMA]))[0].codec;
  });

  it("is a BinaryReader to generated code", () => {
    expect(new MessageReader()).to.be.instanceOf(StockReader);
  });

  it("overrides every method of BinaryReader", () => {
    const stock = new StockReader(new Uint8Array(0)) as unknown as Record<string, unknown>;
    const methods = Object.getOwnPropertyNames(StockReader.prototype).concat(
      Object.keys(stock).filter((name) => typeof stock[name] === "function"),
    );
    const inherited = methods.filter((name) => !Object.hasOwn(MessageReader.prototype, name));
    // Those that are private to it, which no other method calls any more.
    expect(inherited).to.have.members(["assertBounds", "decodeUtf8", "varint64"]);
  });

  for (const [what, hex, problem] of [
    ["a tag cut short", "88", "middle of a field"],
    ["a value missing", "08", "middle of a field"],
    ["a varint cut short", "08 ff ff", "middle of a field"],
    ["a varint of 11 bytes", "08 ffffffffffffffffffff 01", "varint over 64 bits"],
    ["a varint over 64 bits", "08 ffffffffffffffffff 02", "varint over 64 bits"],
    ["a tag over 32 bits", "88 80 80 80 10 01", "over 32 bits"],
    ["a tag of 6 bytes", "88 80 80 80 80 00 01", "over 32 bits"],
    ["field number 0", "00", "field number 0"],
    ["field number 0 with a length", "02 00", "field number 0"],
    ["wire type 6", "0e", "unknown wire type 6"],
    ["wire type 7", "0f", "unknown wire type 7"],
    ["a string cut short", "12 05 61 62", "5 bytes announced, 2 left"],
    ["a length over 32 bits", "12 80 80 80 80 10", "over 32 bits"],
    ["a string's length with high bits", "12 81 80 80 80 80 80 80 80 80 01 61", "over 32 bits"],
    ["a string that is not UTF-8", "12 02 c0 af", "not valid UTF-8"],
    ["a surrogate in a string", "12 03 ed a0 80", "not valid UTF-8"],
    ["bytes cut short", "1a 01", "1 bytes announced, 0 left"],
    ["a message cut short", "22 05 08 01", "5 bytes announced, 2 left"],
    ["a message beyond the one around it", "22 02 22 01 08 01", "1 bytes announced, 0 left"],
    ["a value beyond its message", "22 01 08 01", "middle of a field"],
    ["a string beyond its message", "22 03 12 02 61 62", "2 bytes announced, 1 left"],
    ["field number 0 in a message", "22 01 00", "field number 0"],
    ["the end of a group in a message", "22 01 2c", "outside a group"],
    ["the end of a group in no group", "2c", "outside a group"],
    ["another group's end", "2b 34", "end of group 6 in group 5"],
    ["a group without end", "2b", "group 5 does not end"],
    ["a group without end around one that ends", "2b 0a 04 2b 0a 00 2c", "group 5 does not end"],
    ["a group that its message cuts short", "22 01 2b 2c", "middle of a field"],
    ["a packed field cut short", "32 08 01 00 00 00", "8 bytes announced, 4 left"],
    ["a packed value beyond its field", "32 03 01 00 00 00", "beyond its length"],
    ["a packed varint beyond its field", "3a 01 80 01", "beyond its length"],
    ["an unknown varint cut short", "f8 07 ff", "middle of a field"],
    ["an unknown length beyond the end", "fa 07 05 00", "5 bytes announced, 1 left"],
    ["an unknown fixed32 cut short", "fd 07 00 00 00", "middle of a field"],
    ["an unknown fixed64 cut short", "f9 07 00 00 00 00 00 00 00", "middle of a field"],
    ["an unknown group without end", "fb 07", "middle of a field"],
    ["an unknown group with another's end", "fb 07 84 08", "end of group 128 in group 127"],
    ["field number 0 in an unknown group", "fb 07 00 fc 07", "field number 0"],
    ["a map's entry cut short", "4a 04 0a 05 61", "4 bytes announced, 3 left"],
  ] as const) {
    it(`refuses ${what}`, () => {
      expect(() => decode(bytes(hex))).to.throw(DecodeError, problem);
    });
  }

  it("says at which byte of the message it is malformed, wherever that is in memory", () => {
    const reader = new MessageReader();
    for (const offset of [0, 5]) {
      const memory = new Uint8Array(offset + 20);
      memory.set(bytes("08 01 12 02 c0 af"), offset);
      expect(() => codec.decode(reader.begin(memory, offset, offset + 6))).to.throw(
        DecodeError,
        "at byte 4:",
      );
    }
  });

  it("takes what is unusual but right", () => {
    expect(decode(bytes("08 8100 08 ff80808000")).f1).to.equal(127);
    expect(decode(bytes("08 ffffffffffffffffff01")).f1).to.equal(-1);
    expect(decode(bytes("22 00")).f4).to.have.property("f1", 0);
    expect(decode(bytes("2b 2c"))).to.have.property("f5");
    expect(decode(bytes("2b fb07 0801 fc07 0a020807 2c 0805"))).to.deep.include({ f1: 5 });
    expect(decode(bytes("38 01 3a 00 3a 02 02 04 38 05")).f7).to.deep.equal([1, 2, 4, 5]);
    expect(decode(bytes("40 04 40 00")).f8).to.equal(0); // Values that would be an end of group, or field 0, as tags.
    expect(decode(bytes("8a80808000 0161 08 03")).f1).to.equal(3); // A known field with another's wire type.
    expect(decode(bytes("12 03 efbbbf")).f2).to.equal("\ufeff");
  });

  it("bounds the nesting of messages, of groups and of groups that it skips", () => {
    const nested = (depth: number) => {
      let message = new Uint8Array(0) as Uint8Array;
      for (let i = 1; i < depth; i++)
        message = new MessageWriter().tag(4, WireType.LengthDelimited).bytes(message).finish();
      return message;
    };
    const groups = (tag: string, end: string, depth: number) => bytes(tag.repeat(depth) + end.repeat(depth));
    decode(nested(100));
    expect(() => decode(nested(101))).to.throw(DecodeError, "deeper than 100");
    decode(groups("fb07", "fc07", 99));
    expect(() => decode(groups("fb07", "fc07", 100))).to.throw(DecodeError, "deeper than 100");
    expect(() => decode(groups("fb07", "fc07", 1_000_000))).to.throw(DecodeError, "deeper than 100");
    expect(() => decode(nested(20_000))).to.throw(DecodeError, "deeper than 100");
  });

  it("works again after an error", () => {
    const reader = new MessageReader();
    for (const hex of ["22 05 08 01", "2b", "3a 01 80 01", "22 02 22 01 08 01"]) {
      const input = bytes(hex);
      expect(() => codec.decode(reader.begin(input, 0, input.length))).to.throw(DecodeError);
      const good = bytes("22 02 08 05 08 07");
      expect(codec.decode(reader.begin(good, 0, good.length))).to.deep.include({ f1: 7 });
    }
  });

  it("returns copies of bytes of every size, or views of large ones when the memory is the message's", () => {
    const reader = new MessageReader();
    for (const memoryOf of [(size: number) => new Uint8Array(size), (size: number) => Buffer.alloc(size)]) {
      for (const size of [0, 1, 64, 65, 2048, 2049, 100_000]) {
        const message = new MessageWriter()
          .tag(3, WireType.LengthDelimited)
          .bytes(new Uint8Array(size).fill(7))
          .finish();
        const memory = memoryOf(message.length + 10);
        memory.set(message, 10);
        const read = (alias: boolean) =>
          codec.decode(reader.begin(memory, 10, memory.length, { alias }))["f3"] as Uint8Array;
        const copied = read(false);
        const aliased = read(true);
        expect(Object.getPrototypeOf(copied)).to.equal(Uint8Array.prototype);
        expect(Object.getPrototypeOf(aliased)).to.equal(Uint8Array.prototype);
        expect(copied.buffer === memory.buffer, `${size}`).to.equal(false);
        expect(aliased.buffer === memory.buffer, `${size}`).to.equal(size >= 3);
        expect(copied).to.deep.equal(new Uint8Array(size).fill(7));
        expect(aliased).to.deep.equal(copied);
        memory.fill(0);
        expect(copied).to.deep.equal(new Uint8Array(size).fill(7));
      }
    }
  });

  it("returns what it skipped, as copies that can be kept", () => {
    const memory = bytes("ac 02 0801 fb07 0801 fc07 03 616263 01020304 0102030405060708");
    const reader = new MessageReader(memory);
    const skipped = [
      reader.skip(WireType.Varint),
      reader.skip(WireType.Varint).length + reader.skip(WireType.Varint).length,
      (reader.tag(), reader.skip(WireType.StartGroup, 127)),
      reader.skip(WireType.LengthDelimited),
      reader.skip(WireType.Bit32),
      reader.skip(WireType.Bit64),
    ];
    memory.fill(0);
    expect(
      skipped.map((part) => (typeof part === "number" ? part : Buffer.from(part).toString("hex"))),
    ).to.deep.equal(["ac02", 2, "0801fc07", "03616263", "01020304", "0102030405060708"]);
    expect(reader.pos).to.equal(reader.len);
  });

  it("reads plain values when no generated code is reading", () => {
    const reader = new MessageReader(bytes("00 04 07 ffffffff0f 80"));
    expect([reader.uint32(), reader.uint32(), reader.uint32(), reader.uint32()]).to.deep.equal([
      0, 4, 7, 4294967295,
    ]);
    expect(() => reader.uint32()).to.throw(DecodeError);
  });

  it("refuses a range outside its memory, and what is not memory", () => {
    for (const [start, end] of [
      [-1, 5],
      [5, 4],
      [0, 11],
      [NaN, 5],
    ] as const) {
      expect(() => new MessageReader().begin(new Uint8Array(10), start, end)).to.throw(
        RangeError,
        "10 bytes",
      );
    }
    expect(() => new MessageReader({} as Uint8Array)).to.throw(RangeError);
  });

  it("lets go of its memory", () => {
    const reader = new MessageReader(new Uint8Array(1000));
    reader.double();
    reader.release();
    const held = Object.values(reader as object).filter((value) => ArrayBuffer.isView(value));
    for (const view of held) expect(view.byteLength).to.equal(0);
  });
});
