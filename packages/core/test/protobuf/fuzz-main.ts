/**
 * The nightly fuzzing: `npm run fuzz:protobuf -w packages/core -- --count 10000000 --seed 1`. New random schemas every
 * 50,000 inputs, alternately on the portable platform and on Node's.
 */
import { parseArgs } from "node:util";
import { installPlatform, portablePlatform } from "@sluice/core/protobuf";
import { nodePlatform } from "./platform.js";
import { loadCases } from "./codecs.js";
import { fuzz } from "./fuzz.js";
import { Random } from "./random.js";
import { randomSchema } from "./schema.js";

const INPUTS_PER_SCHEMA = 50_000;

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "10000000" },
    seed: { type: "string", default: String(Date.now() >>> 0) },
  },
});
const count = Number(values.count);
let seed = Number(values.seed);
console.log(`fuzzing ${count} inputs from seed ${seed}`);
let done = 0;
let accepted = 0;
for (let round = 0; done < count; round++, seed++) {
  const random = new Random(seed);
  const schemas = [randomSchema(random, "proto3", "three"), randomSchema(random, "proto2", "two")];
  installPlatform(round % 2 === 0 ? portablePlatform : nodePlatform);
  const inputs = Math.min(INPUTS_PER_SCHEMA, count - done);
  accepted += fuzz(await loadCases(schemas), random, inputs).accepted;
  done += inputs;
  if (round % 10 === 9 || done === count)
    console.log(`${done} inputs, ${accepted} accepted, next seed ${seed + 1}`);
}
