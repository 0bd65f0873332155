/** `npm run fuzz:session -w packages/core -- [--seeds N] [--seed FIRST] [--trace]` */
import { parseArgs } from "node:util";
import { runSeed } from "./run.js";

const { values } = parseArgs({
  options: {
    seeds: { type: "string" },
    seed: { type: "string", default: "1" },
    trace: { type: "boolean", default: false },
    /** Go on after failures, and print each one's first line. */
    all: { type: "boolean", default: false },
  },
});
const first = Number(values.seed);
// Tracing is for one seed.
const count = Number(values.seeds ?? (values.trace ? 1 : 10_000));
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count)) throw new Error("give whole numbers");
const began = performance.now();
let failed = 0;
for (let seed = first; seed < first + count; seed++) {
  try {
    await runSeed(seed, values.trace);
  } catch (error) {
    failed++;
    const { message } = error as Error;
    if (!values.all) {
      console.error(message, (error as Error).cause);
      break;
    }
    console.error(message.slice(0, message.indexOf("\n")));
  }
}
console.log(
  `${count} seeds from ${first}: ${failed} failed, ${((performance.now() - began) / 1000).toFixed(1)} s`,
);
process.exitCode = failed > 0 ? 1 : 0;
