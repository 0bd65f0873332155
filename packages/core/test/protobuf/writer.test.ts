import { inspect } from "node:util";
import { BinaryWriter as StockWriter, WireType } from "@bufbuild/protobuf/wire";
import { setImmediate } from "node:timers/promises";
import { recycle } from "#core/protobuf/writer.js";
import { MessageWriter } from "@sluice/core/protobuf";
import { expect } from "chai";

/** Calls of every method, each with what generated code may pass to it. */
const CALLS: readonly [keyof StockWriter, unknown][] = [
  ["uint32", 0],
  ["uint32", 127],
  ["uint32", 128],
  ["uint32", 2 ** 32 - 1],
  ["uint32", "300"],
  ["int32", -1],
  ["int32", -(2 ** 31)],
  ["int32", 2 ** 31 - 1],
  ["int32", "-5"],
  ["sint32", -(2 ** 31)],
  ["sint32", 2 ** 31 - 1],
  ["bool", true],
  ["bool", false],
  ["bytes", new Uint8Array(0)],
  ["bytes", new Uint8Array(300).fill(7)],
  ["bytes", Buffer.from("buffer")],
  ["raw", new Uint8Array([1, 2, 3])],
  ["string", ""],
  ["string", "short"],
  ["string", "é".repeat(16)],
  ["string", "x".repeat(127)],
  ["string", "é".repeat(100)],
  ["string", "漢".repeat(20_000)],
  ["string", "lone \ud800 surrogate"],
  ["float", 1.5],
  ["float", NaN],
  ["float", -Infinity],
  ["double", Math.PI],
  ["double", -0],
  ["fixed32", 2 ** 32 - 1],
  ["sfixed32", -(2 ** 31)],
  ["fixed64", 2n ** 64n - 1n],
  ["sfixed64", -(2n ** 63n)],
  ["int64", -1n],
  ["int64", "-9223372036854775808"],
  ["int64", 5],
  ["uint64", 2n ** 64n - 1n],
  ["sint64", -(2n ** 63n)],
  ["sint64", 2n ** 63n - 1n],
];

function call(writer: StockWriter, [method, argument]: (typeof CALLS)[number]): void {
  (writer[method] as (value: unknown) => unknown).call(writer, argument);
}

describe("MessageWriter", () => {
  it("is a BinaryWriter to generated code", () => {
    expect(new MessageWriter()).to.be.instanceOf(StockWriter);
  });

  it("overrides every method of BinaryWriter", () => {
    const inherited = Object.getOwnPropertyNames(StockWriter.prototype).filter(
      (name) => !Object.hasOwn(MessageWriter.prototype, name),
    );
    // Those that are private to it, which no other method calls any more.
    expect(inherited).to.have.members(["ensureCapacity", "view", "writeVarint64"]);
  });

  for (const one of CALLS) {
    const [method, argument] = one;
    const shown =
      typeof argument === "string" ? `a string of ${argument.length}` : inspect(argument).slice(0, 40);
    it(`writes ${method} ${shown} as the stock writer, whatever the room`, () => {
      const stock = new StockWriter().uint32(7);
      call(stock, one);
      const expected = Buffer.from(stock.finish());
      const rooms = expected.length < 50 ? expected.length + 2 : 2;
      for (let n = 0; n < rooms; n++) {
        const room = expected.length < 50 ? n : expected.length - 1 + n;
        const writer = new MessageWriter().begin(new Uint8Array(room + 3), 3, room + 3);
        writer.uint32(7);
        call(writer, one);
        expect(writer.overflowed, `room ${room}`).to.equal(room < expected.length);
        expect(Buffer.from(writer.finish()).equals(expected), `room ${room}`).to.equal(true);
      }
    });
  }

  it("writes tags", () => {
    const tag = (writer: StockWriter) => writer.tag(536870911, WireType.LengthDelimited).finish();
    expect([...tag(new MessageWriter())]).to.deep.equal([...tag(new StockWriter())]);
  });

  it("puts lengths of any size before what was forked", () => {
    for (const inner of [0, 1, 126, 127, 128, 16383, 16384, 2 ** 21 - 1, 2 ** 21]) {
      const nested = (writer: StockWriter) =>
        writer.fork().fork().raw(new Uint8Array(inner).fill(1)).join().uint32(5).join().uint32(6);
      const expected = Buffer.from(nested(new StockWriter()).finish());
      for (const room of [0, inner, expected.length - 1, expected.length]) {
        const writer = new MessageWriter().begin(new Uint8Array(room), 0, room);
        nested(writer);
        expect(writer.overflowed).to.equal(room < expected.length);
        expect(Buffer.from(writer.finish()).equals(expected), `${inner} in ${room}`).to.equal(true);
      }
    }
  });

  for (const [method, argument] of [
    ["uint32", -1],
    ["uint32", 2 ** 32],
    ["uint32", 1.5],
    ["uint32", undefined],
    ["int32", 2 ** 31],
    ["int32", NaN],
    ["int32", "x"],
    ["int32", 1n],
    ["sint32", -(2 ** 31) - 1],
    ["fixed32", -1],
    ["sfixed32", 2 ** 31],
    ["float", 1e39],
    ["float", "x"],
    ["double", undefined],
    ["double", {}],
    ["int64", 2n ** 63n],
    ["uint64", -1n],
    ["uint64", 1.5],
    ["sint64", -(2n ** 63n) - 1n],
    ["fixed64", 2n ** 64n],
    ["sfixed64", 2n ** 63n],
    ["bytes", [1, 2, 3]],
    ["bytes", undefined],
    ["bytes", "text"],
    ["bytes", new ArrayBuffer(4)],
    ["bytes", new Uint16Array(4)],
    ["raw", {}],
  ] as const) {
    it(`refuses ${method} of ${inspect(argument)}`, () => {
      const writer = new MessageWriter();
      expect(() => call(writer, [method, argument])).to.throw();
    });
  }

  it("refuses a range outside its memory", () => {
    const memory = new Uint8Array(10);
    for (const [start, end] of [
      [-1, 5],
      [5, 4],
      [0, 11],
      [NaN, 5],
    ] as const) {
      expect(() => new MessageWriter().begin(memory, start, end)).to.throw(RangeError, "10 bytes");
    }
  });

  it("refuses join without fork", () => {
    expect(() => new MessageWriter().join()).to.throw("fork");
  });

  it("is as new after begin, also when the last message failed half-way", () => {
    const writer = new MessageWriter().begin(new Uint8Array(1), 0, 1);
    writer.fork().fork().string("overflows the range");
    expect(() => writer.int32(1.5)).to.throw();
    const memory = new Uint8Array(10);
    writer.begin(memory, 2, 10).fork().uint32(1).join();
    expect(writer.overflowed).to.equal(false);
    expect([...memory.subarray(writer.start, writer.position)]).to.deep.equal([1, 1]);
    expect(() => writer.join()).to.throw("fork");
  });

  it("detaches results that later messages do not change", () => {
    const writer = new MessageWriter();
    const results = [10, 1000, 100_000, 3_000_000].map((size, i) => {
      writer.begin(new Uint8Array(20), 0, 20).raw(new Uint8Array(size).fill(i + 1));
      return writer.detach();
    });
    writer.begin(new Uint8Array(0), 0, 0).raw(new Uint8Array(3_000_000).fill(9));
    results.forEach((result, i) => expect(result.every((byte) => byte === i + 1)).to.equal(true));
    expect(results.map((result) => result.length)).to.deep.equal([10, 1000, 100_000, 3_000_000]);
  });

  it("does not keep the scratch of a huge message, nor the memory given", () => {
    const writer = new MessageWriter().begin(new Uint8Array(1), 0, 1).raw(new Uint8Array(4_000_000));
    expect(writer.memory.length).to.be.at.least(4_000_000);
    writer.double(1).release();
    const held = Object.values(writer as object).filter((value) => ArrayBuffer.isView(value));
    for (const view of held) expect(view.byteLength).to.be.at.most(1024 * 1024);
    expect(writer.position).to.equal(0);
  });

  it("uses again what it detached once that has come back", () => {
    const first = overflowing(100_000);
    recycle(first);
    expect(overflowing(90_000).buffer).to.equal(first.buffer);
    expect(overflowing(90_000).buffer).not.to.equal(first.buffer);
  });

  it("lets go of what has come back and is not used between two full collections", async () => {
    const returned = comeBack(4);
    for (let tries = 0; returned.some((reference) => reference.deref() !== undefined); tries++) {
      expect(tries, "collections").to.be.below(20);
      // A dereferenced object lives until its turn of the event loop is over; what a registry tells comes in one of its own.
      await setImmediate();
      global.gc!();
      await setImmediate();
    }
  });

  it("keeps little of what has come back, however much that is", () => {
    const results = Array.from({ length: 100 }, () => overflowing(1_000_000));
    const buffers = new Set<ArrayBufferLike>(results.map(({ buffer }) => buffer));
    for (const result of results) recycle(result);
    let reused = 0;
    while (buffers.has(overflowing(1_000_000).buffer)) reused++;
    expect(reused).to.be.within(1, 33);
  });
});

/** A message that needs scratch of about that size. */
function overflowing(bytes: number): Uint8Array {
  return new MessageWriter().begin(new Uint8Array(1), 0, 1).raw(new Uint8Array(bytes)).detach();
}

/** So many results that have come back. */
function comeBack(count: number): WeakRef<object>[] {
  const results = Array.from({ length: count }, () => overflowing(1_000_000));
  for (const result of results) recycle(result);
  return results.map(({ buffer }) => new WeakRef(buffer));
}
