/** The timing itself, of what `bench-main.ts` generated into the directory given. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { BinaryReader as StockReader, BinaryWriter as StockWriter } from "@bufbuild/protobuf/wire";
import { MessageReader, MessageWriter, installPlatform } from "@sluice/core/protobuf";
import protobufjs from "protobufjs";
import type { Generated } from "./codecs.js";
import type { Value } from "./message.js";
import { nodePlatform } from "./platform.js";

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
const directory = process.argv[2]!;
const url = pathToFileURL(join(directory, "bench")).href;
const own = (await import(`${url}.js`)) as Generated["own"];
const stock = (await import(`${url}.stock.js`)) as Generated["stock"];
const root = protobufjs.loadSync(join(directory, "proto/bench.proto"));
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
