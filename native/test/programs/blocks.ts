/** Shows the blocks of a segment, and then `closes` it, leaves it to be `collected`, `keeps` it to the end, or `exits`; or has a `worker` keep it. */
import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { native } from "../support.js";

const how = isMainThread ? process.argv[2] : (workerData as string);

/** Half a GiB, more than all else that this process has. */
function show(close: boolean): void {
  const segment = new native.Segment("memfd", 64 << 10, 16 << 20);
  if (segment.blocks.byteLength < 512 << 20) throw new Error("the blocks are too small");
  if (close) segment.close();
}

if (how === "worker") {
  const [code] = (await once(new Worker(new URL(import.meta.url), { workerData: "keeps" }), "exit")) as [
    number,
  ];
  if (code !== 0) throw new Error(`the worker ended with ${code}`);
} else show(how === "closes");
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
