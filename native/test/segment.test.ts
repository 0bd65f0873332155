import { readFileSync } from "node:fs";
import { expect } from "chai";
import { MessageChannel } from "node:worker_threads";
import { native, needsAddon, runProgram } from "./support.js";

const BLOCK = 1 << 20;
const CAPACITY = 64 << 10;
const BLOCKS = 4096 + 4 * CAPACITY;

describe("Segment.discard", function () {
  needsAddon(this);

  it("makes pages of the blocks zero, and no others", () => {
    const segment = new native.Segment("memfd", CAPACITY, BLOCK);
    const blocks = new Uint8Array(segment.lend(BLOCKS, 4 * 4096)).fill(7);
    segment.discard(BLOCKS + 4096, 8192);
    expect([4095, 4096, 12287, 12288].map((at) => blocks[at])).to.deep.equal([7, 0, 0, 7]);
    blocks[4096] = 8;
    expect(blocks[4096]).to.equal(8);
    segment.recall(blocks.buffer);
    segment.close();
  });

  it("refuses what is not whole pages of the blocks", () => {
    const segment = new native.Segment("memfd", CAPACITY, BLOCK);
    const size = BLOCKS + 32 * BLOCK;
    for (const [start, length] of [
      [0, 4096],
      [BLOCKS - 4096, 4096],
      [BLOCKS + 1, 4096],
      [BLOCKS, 4095],
      [BLOCKS, 0],
      [size, 4096],
      [size - 4096, 8192],
      [NaN, 4096],
    ] as const) {
      expect(() => segment.discard(start, length), `${start}, ${length}`).to.throw(TypeError);
    }
    segment.close();
    expect(() => segment.discard(BLOCKS, 4096)).to.throw(/closed/);
  });
});

describe("Segment.lend", function () {
  needsAddon(this);

  it("shows a part of the memory, until it is recalled", () => {
    const segment = new native.Segment("memfd", CAPACITY, BLOCK);
    const blocks = new Uint8Array(segment.lend(BLOCKS, 32 * BLOCK));
    const lent = new Uint8Array(segment.lend(BLOCKS + 8, 100));
    expect(lent.length).to.equal(100);
    blocks[8] = 7;
    blocks[107] = 8;
    expect([lent[0], lent[99]]).to.deep.equal([7, 8]);
    segment.recall(lent.buffer);
    expect(lent.length).to.equal(0);
    expect(blocks[8]).to.equal(7);
    // Twice is harmless, and the range can be lent again.
    segment.recall(lent.buffer);
    segment.recall(segment.lend(BLOCKS + 8, 100));
    segment.recall(blocks.buffer);
    segment.close();
  });

  it("refuses ranges that are not in the segment, and what it has not lent", () => {
    const segment = new native.Segment("memfd", CAPACITY, BLOCK);
    const size = BLOCKS + 32 * BLOCK;
    for (const [start, length] of [
      [-1, 1],
      [0, 0],
      [0, size + 1],
      [size, 1],
      [0.5, 1],
      [NaN, 1],
    ] as const) {
      expect(() => segment.lend(start, length), `${start}, ${length}`).to.throw(TypeError);
    }
    const lent = segment.lend(4096, 8);
    expect(() => segment.lend(4096, 8)).to.throw(/lent already/);
    expect(() => segment.recall(new ArrayBuffer(8))).to.throw(/not lent/);
    expect(() => segment.recall("text" as unknown as ArrayBuffer)).to.throw(TypeError);
    segment.recall(lent);
    segment.close();
    expect(() => segment.lend(4096, 8)).to.throw(/closed/);
  });

  for (const how of ["closes", "collected", "keeps", "exits", "worker"]) {
    // V8 since 13 ends a process that frees more external memory than there seems to be.
    it(`is no more than V8 has counted when it goes (${how})`, async () => {
      expect(await runProgram("lent", [how])).to.deep.include({ code: 0, stdout: "done\n" });
    });
  }

  it("cannot be moved to another thread by its user: Node copies it, or refuses", () => {
    const segment = new native.Segment("memfd", CAPACITY, BLOCK);
    const lent = segment.lend(BLOCKS, 8);
    const { port1, port2 } = new MessageChannel();
    try {
      port1.postMessage(lent, [lent]);
    } catch (error) {
      expect((error as Error).name).to.equal("DataCloneError");
    }
    expect(lent.byteLength).to.equal(8);
    port1.close();
    port2.close();
    segment.recall(lent);
    expect(lent.byteLength).to.equal(0);
    segment.close();
  });

  it("stays readable where its user moved it to, after the segment was closed", function () {
    if (!("transfer" in ArrayBuffer.prototype)) {
      console.log("      skipped: this Node has no ArrayBuffer.prototype.transfer");
      this.skip();
    }
    const segment = new native.Segment("memfd", CAPACITY, BLOCK);
    const lent = segment.lend(BLOCKS, BLOCK) as ArrayBuffer & { transfer(): ArrayBuffer };
    new Uint8Array(lent).fill(9);
    const moved = new Uint8Array(lent.transfer());
    expect(lent.byteLength).to.equal(0);
    segment.recall(lent);
    segment.close();
    expect(moved.every((byte) => byte === 9)).to.equal(true);
  });

  it("is unmapped with the segment when all has been recalled", () => {
    const mappings = () =>
      readFileSync("/proc/self/maps", "latin1")
        .split("\n")
        .filter((line) => line.includes("memfd:sluice")).length;
    const before = mappings();
    for (let i = 0; i < 20; i++) {
      const segment = new native.Segment("memfd", CAPACITY, BLOCK);
      const lent = segment.lend(BLOCKS, BLOCK);
      expect(mappings()).to.be.greaterThan(before);
      segment.recall(lent);
      segment.close();
      expect(mappings()).to.equal(before);
    }
  });
});
