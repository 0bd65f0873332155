import { BinaryWriter as StockWriter } from "@bufbuild/protobuf/wire";
import {
  MessageReader,
  MessageWriter,
  decodeMessage,
  encodeMessage,
  installPlatform,
  portablePlatform,
} from "@sluice/core/protobuf";
import { expect } from "chai";
import { loadCases, type Case } from "./codecs.js";
import { expectSame, fuzz } from "./fuzz.js";
import { neutralOfGenerated, neutralOfProtobufjs, randomMessage } from "./message.js";
import { nodePlatform } from "./platform.js";
import { Random } from "./random.js";
import { referenceDecode } from "./reference.js";
import { randomSchema } from "./schema.js";

const SEED = Number(process.env["SLUICE_SEED"] ?? 1);
const INPUTS = 80_000;

describe(`messages of random schemas (SLUICE_SEED=${SEED})`, function () {
  this.timeout(240_000);
  const random = new Random(SEED);
  let cases: Case[];

  before(async () => {
    cases = await loadCases([
      randomSchema(random, "proto3", "three"),
      randomSchema(random, "proto3", "three_more"),
      randomSchema(random, "proto2", "two"),
    ]);
  });

  afterEach(() => installPlatform(portablePlatform));

  for (const [name, platform] of [
    ["the portable platform", portablePlatform],
    ["Node's platform", nodePlatform],
  ] as const) {
    it(`are encoded byte for byte as by the stock writer, in any range, on ${name}`, () => {
      installPlatform(platform);
      const writer = new MessageWriter();
      for (const { schema, message, codec, stock } of cases) {
        for (let i = 0; i < 200; i++) {
          const value = randomMessage(random, schema, message);
          const expected = Buffer.from(stock.encode(value, new StockWriter()).finish());
          const start = random.below(8);
          const room = random.below(2 * expected.length + 2);
          const memory = new Uint8Array(start + room + 8).fill(0xaa);
          codec.encode(value, writer.begin(memory, start, start + room));
          const result = Buffer.from(writer.memory.subarray(writer.start, writer.position));
          expect(
            result.equals(expected),
            `${schema.package}.${message.name} ${expected.toString("hex")}`,
          ).to.equal(true);
          expect(writer.overflowed).to.equal(room < expected.length);
          const outside = [...memory.subarray(0, start), ...memory.subarray(start + room)];
          expect(outside.every((byte) => byte === 0xaa)).to.equal(true);
          expect(Buffer.from(codec.encode(value).finish()).equals(expected)).to.equal(true);
        }
      }
    });

    it(`are decoded to what was encoded, as by protobufjs and the reference, on ${name}`, () => {
      installPlatform(platform);
      for (const { schema, message, codec, protobufjs } of cases) {
        for (let i = 0; i < 100; i++) {
          const value = randomMessage(random, schema, message);
          const expected = JSON.stringify(neutralOfGenerated(schema, message, value));
          const same = (decoded: unknown) => expectSame(JSON.stringify(decoded), expected);
          const bytes = encodeMessage(codec, value);
          same(neutralOfGenerated(schema, message, decodeMessage(codec, bytes)));
          const reader = new MessageReader().begin(bytes, 0, bytes.length, { alias: true });
          same(neutralOfGenerated(schema, message, codec.decode(reader)));
          same(referenceDecode(schema, message, bytes).neutral);
          const other = protobufjs.decode(bytes) as unknown as Record<string, unknown>;
          same(neutralOfProtobufjs(schema, message, other));
        }
      }
    });

    it(`survive ${INPUTS / 2} mutations on ${name}`, () => {
      installPlatform(platform);
      const { accepted } = fuzz(cases, random, INPUTS / 2);
      // Both sides of every judgement must have been exercised.

      expect(accepted).to.be.within(INPUTS / 50, INPUTS / 2.1);
    });
  }
});
