import { expect } from "chai";
import { Metadata, RpcError, type MetadataValue } from "@sluice/core";
import { receiveMetadata } from "#core/metadata-block.js";
import { MetadataEncoder } from "#core/metadata-encoder.js";
import { connectPair, echo, part } from "../session/fixture.js";
import { Random } from "../protobuf/random.js";

type Entries = [string, MetadataValue][];

/** A block as `docs/wire.md` says it, without any memory of the one before. */
function blockOf(entries: Entries): Uint8Array {
  const bytes = entries.flatMap(([name, value]) => {
    const text = typeof value === "string" ? [...value].map((unit) => unit.charCodeAt(0)) : [...value];
    const key = [...name.toLowerCase()].map((unit) => unit.charCodeAt(0));
    return [key.length, ...key, text.length & 0xff, text.length >>> 8, ...text];
  });
  return Uint8Array.from(bytes);
}

/** Few names and few lengths, so that entries of one block often lie where others lay in the block before. */
function randomEntries(random: Random): Entries {
  const names = ["a", "bc", "B-c", "a-bin", "tr-bin", "x-long-name-of-a-header"];
  return Array.from({ length: random.below(5) }, () => {
    const name = names[random.below(names.length)]!;
    const size = random.below(4) * (random.below(40) === 0 ? 1000 : 3);
    const unit = 0x61 + random.below(3);
    return name.endsWith("-bin")
      ? [name, new Uint8Array(size).fill(unit)]
      : [name, String.fromCharCode(unit).repeat(size)];
  });
}

function encode(entries: Entries): Uint8Array {
  const encoder = MetadataEncoder.take();
  const block = encoder.encodeEntries(entries).slice();
  encoder.release();
  return block;
}

/** The entries of what arrived, or why it was refused. */
function receive(memory: Uint8Array, start: number, end: number): Metadata | string {
  const block = receiveMetadata(memory, start, end);
  return typeof block === "string" ? block : Metadata.fromBlock(block);
}

function decode(bytes: Uint8Array): Metadata {
  const memory = new Uint8Array(bytes.length + 20);
  memory.set(bytes, 13);
  const metadata = receive(memory, 13, 13 + bytes.length);
  if (typeof metadata === "string") throw new Error(metadata);
  memory.fill(0xff);
  return metadata;
}

describe("metadata", () => {
  it("is encoded and decoded the same whatever came before", () => {
    const random = new Random(5);
    let entries: Entries = [];
    for (let i = 0; i < 20_000; i++) {
      if (random.below(3) === 0) entries = randomEntries(random);
      else if (entries.length > 0)
        entries.splice(random.below(entries.length), 1, ...randomEntries(random).slice(0, 1));
      const expected = blockOf(entries);
      expect(encode(entries)).to.deep.equal(expected);
      expect([...decode(expected)]).to.deep.equal(
        entries.map(([name, value]) => [name.toLowerCase(), value]),
      );
    }
  });

  it("is what it was when others have arrived since, and by itself as it travels", () => {
    const random = new Random(11);
    const kept: ({ metadata: Metadata; entries: Entries } | undefined)[] = [];
    let entries: Entries = [];
    for (let i = 0; i < 4_000; i++) {
      const names = ["a", "bc", "tr-bin", "x-long-name-of-a-header"];
      const index = random.below(entries.length + 1);
      const name = names[random.below(names.length)]!;
      const bytes = new Uint8Array(random.below(random.below(50) === 0 ? 5000 : 30)).fill(
        0x61 + random.below(3),
      );
      const value = name.endsWith("-bin") ? bytes : String.fromCharCode(...bytes);
      entries = [...entries.slice(0, index), [name, value], ...entries.slice(index + 1, 5)];
      kept[random.below(100)] = { metadata: decode(blockOf(entries)), entries };
      const looked = random.below(100);
      const one = kept[looked];
      if (one === undefined) continue;
      kept[looked] = undefined;
      const wanted = one.entries.find(([name]) => name === "tr-bin")?.[1];
      expect(one.metadata.get("Tr-Bin")).to.deep.equal(wanted);
      expect(one.metadata.size).to.equal(one.entries.length);
      expect(one.metadata.block).to.deep.equal(blockOf(one.entries));
      expect([...one.metadata]).to.deep.equal(one.entries);
      // They are the receiver's.
      for (const [, value] of one.metadata) if (value instanceof Uint8Array) value.fill(0);
    }
  });

  it("is encoded right after what was refused", () => {
    for (const [name, value] of [
      ["b", "\n"],
      ["b c", "x"],
      ["c-bin", "x"],
      ["b", new Uint8Array(1)],
      ["b", "x".repeat(0x10000)],
    ] as Entries) {
      const good: Entries = [
        ["a", "1"],
        ["b", "2"],
        ["c-bin", new Uint8Array(2)],
      ];
      expect(encode(good)).to.deep.equal(blockOf(good));
      expect(() =>
        encode([
          ["a", "1"],
          [name, value],
        ]),
      ).to.throw(RpcError);
      expect(encode(good)).to.deep.equal(blockOf(good));
    }
  });

  it("is refused wherever it is malformed, also when it is nearly that which came before", () => {
    const good = blockOf([
      ["a", "one"],
      ["b-bin", Uint8Array.of(1, 0x62, 1, 0, 0x62, 1, 0x62, 1, 0, 0x7f)],
      ["c", "three"],
    ]);
    const random = new Random(7);
    for (let i = 0; i < 50_000; i++) {
      decode(good);
      const bad = good.slice();
      for (let changes = random.below(3); changes >= 0; changes--)
        bad[random.below(bad.length)] = random.below(128);
      const reason = receive(bad, 0, bad.length);
      // With another block between, nothing of it is known.
      decode(blockOf([["z", ""]]));
      const unknown = receive(bad, 0, bad.length);
      if (typeof reason === "string") expect(reason).to.equal(unknown);
      else expect([...reason]).to.deep.equal([...(unknown as Metadata)]);
    }
  });

  it("of calls that wait is not that of those that are made meanwhile", async () => {
    const seen: unknown[] = [];
    const { simulation, calls } = await connectPair({
      server: {
        limits: { maxConcurrentStreams: 1 },
        implementation: {
          unary(request, context) {
            seen.push(context.metadata.get("id"));
            return echo.unary(request, context);
          },
        },
      },
    });
    const replies = Array.from({ length: 5 }, (_, id) =>
      calls.unary(part(id), { metadata: { id: String(id) } }),
    );
    await simulation.run();
    await Promise.all(replies);
    expect(seen).to.deep.equal(["0", "1", "2", "3", "4"]);
  });

  it("may have a getter that makes a call, and so may the request", async () => {
    const seen: unknown[] = [];
    const { simulation, calls } = await connectPair({
      server: {
        implementation: {
          unary(request, context) {
            seen.push(Object.fromEntries(context.metadata));
            return echo.unary(request, context);
          },
        },
      },
    });
    const inner: Promise<unknown>[] = [];
    const call = (id: string) => inner.push(calls.unary(part(0), { metadata: { id, more: "inner" } }));
    const metadata = {
      id: "outer",
      get more() {
        call("first");
        return "outer";
      },
    };
    const request = {
      index: 1,
      get data() {
        call("second");
        return new Uint8Array(30_000);
      },
    };
    const outer = calls.unary(request, { metadata });
    await simulation.run();
    await Promise.all([outer, ...inner]);
    const inners = seen.filter((one) => (one as { more: string }).more === "inner");
    expect(seen).to.deep.include({ id: "outer", more: "outer" });
    expect(seen).to.have.length(inner.length + 1);
    expect(inners).to.have.length(inner.length);
  });

  it("is printed under any name", () => {
    const names = ["__proto__", "constructor", "a"];
    const metadata = new Metadata(names.map((name): [string, string] => [name, "x"]));
    metadata.append("a", "y");
    expect(JSON.stringify(metadata)).to.equal('{"__proto__":["x"],"constructor":["x"],"a":["x","y"]}');
  });
});
