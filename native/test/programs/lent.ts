/** Has half of a GiB lent, and then `closes` the segment, leaves both to be `collected`, `keeps` them to the end, or `exits`; or ends a `worker` that keeps them. */
import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { native } from "../support.js";

const how = isMainThread ? process.argv[2] : (workerData as string);

let kept: unknown;

/** More than all else that this process has. */
function lend(): void {
  const segment = new native.Segment("memfd", 64 << 10, 16 << 20);
  const lent = segment.lend(segment.buffer.byteLength, 512 << 20);
  if (how === "closes") {
    segment.recall(lent);
    segment.close();
  } else if (how !== "collected") kept = [segment, lent];
}

if (how === "worker") {
  const [code] = (await once(new Worker(new URL(import.meta.url), { workerData: "keeps" }), "exit")) as [
    number,
  ];
  if (code !== 0) throw new Error(`the worker ended with ${code}`);
} else lend();
if (how === "collected") {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  for (let round = 0; round < 5; round++) {
    gc();
    await setImmediate();
  }
}
if (isMainThread) console.log("done");
if (how === "exits") process.exit();
// Whatever is held until then.
process.once("exit", () => kept);
