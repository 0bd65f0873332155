/** `npm run udp:fuzz -w packages/transports -- [--packets N] [--seed FIRST]`: half of them to connections with a secret. */
import { parseArgs } from "node:util";
import { fuzz } from "./fuzz.js";

const { values } = parseArgs({
  options: { packets: { type: "string", default: "1000000" }, seed: { type: "string", default: "1" } },
});
const packets = Number(values.packets);
const seed = Number(values.seed);
if (!Number.isSafeInteger(packets) || !Number.isSafeInteger(seed)) throw new Error("give whole numbers");
/** Of one world: its packets are remembered all along. */
const PART = 50_000;
const began = performance.now();
let ended = 0;
for (let done = 0, part = 0; done < packets; done += PART, part++) {
  ended += (await fuzz(PART, seed + part, part % 2 === 0 ? undefined : new Uint8Array(32).fill(7))).ended;
}
const seconds = ((performance.now() - began) / 1000).toFixed(1);
const { heapUsed } = process.memoryUsage();
console.log(
  `${packets} packets from seed ${seed}, ${seconds} s: ${ended} connections without a secret ended, none with one; ` +
    `${(heapUsed / 2 ** 20).toFixed(0)} MiB of heap in use`,
);
