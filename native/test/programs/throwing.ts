/** Throws in onRead. Arguments: main, worker, uncaught, or `carry VALUE` to return VALUE instead. */
import { isMainThread, Worker } from "node:worker_threads";
import { Peer, native } from "../support.js";

const [how, value] = process.argv.slice(2);

class ThrowingPeer extends Peer {
  override onRead(): number {
    if (how === "carry") return (value === "x" || value === "undefined" ? value : Number(value)) as number;
    throw new Error("thrown by onRead");
  }
}

function throwing(): Peer {
  const [a, b] = native.socketPair();
  const peer = new ThrowingPeer(a);
  const other = new Peer(b);
  other.write("x");
  other.channel.unref();
  return peer;
}

if (how === "worker" && isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { argv: ["worker"] });
  worker.on("error", (error) => console.log(`worker: ${String(error)}`));
} else {
  const peer = throwing();
  if (how === "main" || how === "carry") {
    process.on("uncaughtException", (error) => {
      console.log(`uncaught: ${String(error)}`);
      setImmediate(() => {
        try {
          peer.channel.acquire();
        } catch (closed) {
          console.log((closed as Error).message);
        }
      });
    });
  }
}
