/**
 * The ring's traffic with random sizes, sleeps and thread timings under the thread sanitizer, for as long as wanted:
 * `npm run stress -w native -- --minutes N` (default: 10). A failure names the seed of its round.
 */
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";

import { buildVariant } from "./run-cpp.mjs";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const seconds = Math.round(Number(values.minutes) * 60);
if (!(seconds > 0)) {
  console.error(`--minutes must be a number above 0, not "${values.minutes}"`);
  process.exit(2);
}
const program = await buildVariant("thread sanitizer");
// A round that hangs fails by itself, after a minute.
const { status } = spawnSync(program, ["stress", String(seconds)], { stdio: "inherit" });
process.exit(status ?? 1);
