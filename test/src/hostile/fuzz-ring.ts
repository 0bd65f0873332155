// `npm run fuzz:ring -w test -- [--count N] [--seed N]`: the corruption of corruption.test.ts at length, default 1,000,000.
import { parseArgs } from "node:util";
import { corruptRings } from "./corruption.js";

const { values } = parseArgs({ options: { count: { type: "string" }, seed: { type: "string" } } });
const count = Number(values.count ?? 1_000_000);
const seed = Number(values.seed ?? Math.floor(Math.random() * 0xffff_ffff));
for (const mode of ["async", "sync"] as const) {
  console.log(`${mode} client, seed ${seed}`);
  const { corruptions, connections, client } = await corruptRings(mode, Math.ceil(count / 2), seed);
  console.log(
    `${corruptions} corruptions of ${connections} connections, ${client.calls} calls succeeded; failures:`,
  );
  console.log(client.failures);
}
