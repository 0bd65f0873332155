import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Channel, spawn } from "@sluice/node";
import { CoordinatorDefinition, CounterDefinition } from "./gen/pipeline.js";

const CHILDREN = 2;
const SHOWN = 10;

const folder = process.argv[2] ?? ".";
const files = (await readdir(folder, { withFileTypes: true }))
  .filter((entry) => entry.isFile())
  .map((entry) => join(folder, entry.name));

const totals = new Map<string, number>();
const child = fileURLToPath(new URL("child.js", import.meta.url));
await Promise.all(Array.from({ length: CHILDREN }, (_, number) => count(number + 1)));

const most = [...totals].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, SHOWN);
for (const [word, times] of most) console.log(`${String(times).padStart(8)}  ${word}`);

/** Start a child, hand it files until there are none, and add what it counted to the totals. */
async function count(number: number): Promise<void> {
  const { channel } = await spawn(process.execPath, [child]);
  serve(channel);
  const { words } = await channel.client(CounterDefinition).count({ child: number });
  for (const [word, times] of words) totals.set(word, (totals.get(word) ?? 0) + times);
  await channel.close();
}

/** What the child calls back for: whichever child is free takes the next file. */
function serve(channel: Channel): void {
  channel.add(CoordinatorDefinition, {
    nextFile: () => ({ path: files.pop() }),
    report({ child, path, words }) {
      console.log(`child ${child}: ${words} words in ${path}`);
      return {};
    },
  });
}
