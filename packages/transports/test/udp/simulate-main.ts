/** `npm run udp:simulate -w packages/transports -- [--seeds N] [--seed FIRST]` */
import { parseArgs } from "node:util";
import { runSeed } from "./run.js";

const { values } = parseArgs({
  options: { seeds: { type: "string", default: "10000" }, seed: { type: "string", default: "1" } },
});
const first = Number(values.seed);
const count = Number(values.seeds);
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count)) throw new Error("give whole numbers");
const began = performance.now();
const outcomes: Record<string, number> = {};
let packets = 0;
for (let seed = first; seed < first + count; seed++) {
  try {
    const run = await runSeed(seed);
    packets += run.packets;
    outcomes[run.outcome] = (outcomes[run.outcome] ?? 0) + 1;
  } catch (error) {
    outcomes["failed"] = (outcomes["failed"] ?? 0) + 1;
    process.exitCode = 1;
    console.error((error as Error).message);
  }
}
const seconds = ((performance.now() - began) / 1000).toFixed(1);
console.log(`${count} seeds from ${first}, ${packets} packets, ${seconds} s:`, outcomes);
