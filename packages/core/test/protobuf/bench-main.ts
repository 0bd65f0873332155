/**
 * Times encoding and decoding against the stock writer and reader and protobufjs:
 * `npm run bench:protobuf -w packages/core`. Prints nanoseconds of CPU time (collecting the garbage included), which other
 * processes disturb less than the time that passes: the best of several rounds.
 */
import { BinaryReader as StockReader, BinaryWriter as StockWriter } from "@bufbuild/protobuf/wire";
import { MessageReader, MessageWriter, installPlatform } from "@sluice/core/protobuf";
import protobufjs from "protobufjs";
import { loadGenerated } from "./codecs.js";
import type { Value } from "./message.js";
import { nodePlatform } from "./platform.js";

const PROTO = `
  syntax = "proto3";
  package bench;
  message Small { string name = 1; int32 id = 2; bytes body = 3; uint64 number = 4; bool ok = 5; double score = 6; }
  message Item { string name = 1; int32 quantity = 2; double price = 3; repeated string tags = 4; Small small = 5; }
  message Nested { string id = 1; repeated Item items = 2; repeated int32 numbers = 3; int64 at = 4; }
  message Blob { bytes data = 1; }`;

const ROUNDS = 9;
const ROUND_MS = 50;

const small: Value = {
  name: "Ada",
  id: 42,
  body: new Uint8Array(64),
  number: 123456789n,
  ok: true,
  score: 1.5,
};
const item: Value = { name: "an item's name", quantity: 3, price: 9.95, tags: ["red", "large"], small };
const nested: Value = {
  id: "order-1",
  items: Array.from({ length: 6 }, () => item),
  numbers: Array.from({ length: 40 }, (_, i) => i * 100),
  at: 1700000000000n,
};
const SUBJECTS: readonly [name: string, message: Value][] = [
  ["Small", small],
  ["Nested", nested],
  ["Blob", { data: new Uint8Array(1024) }],
  ["Blob", { data: new Uint8Array(1024 * 1024) }],
];

installPlatform(nodePlatform);
const { own, stock } = (await loadGenerated(new Map([["bench", PROTO]]))).get("bench")!;
const { root } = protobufjs.parse(PROTO);
const memory = new Uint8Array(2 * 1024 * 1024);
const writer = new MessageWriter();
const reader = new MessageReader();

console.log(["message", "bytes", "", "Sluice", "stock", "protobufjs"].join("\t"));
for (const [name, message] of SUBJECTS) {
  const bytes = stock[name].encode(message, new StockWriter()).finish();
  const type = root.lookupType(`bench.${name}`);
  const plain = type.decode(bytes);
  memory.set(bytes);
  const timings = {
    encode: [
      () => own[name].encode(message, writer.begin(memory, 0, memory.length)),
      () => stock[name].encode(message, new StockWriter()).finish(),
      () => type.encode(plain).finish(),
    ],
    decode: [
      () => own[name].decode(reader.begin(memory, 0, bytes.length)),
      () => stock[name].decode(new StockReader(bytes)),
      () => type.decode(bytes),
    ],
    "decode, alias": [() => own[name].decode(reader.begin(memory, 0, bytes.length, { alias: true }))],
  };
  for (const [what, runs] of Object.entries(timings)) {
    console.log([name, bytes.length, what, ...runs.map((run) => best(run).toFixed(0))].join("\t"));
  }
}

/** Nanoseconds per run, in the fastest round. */
function best(run: () => unknown): number {
  let result = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage();
    let runs = 0;
    let elapsed = 0;
    while (elapsed < ROUND_MS * 1000) {
      for (let i = 0; i < 64; i++) run();
      runs += 64;
      const { user, system } = process.cpuUsage(start);
      elapsed = user + system;
    }
    result = Math.min(result, (elapsed * 1000) / runs);
  }
  return result;
}
