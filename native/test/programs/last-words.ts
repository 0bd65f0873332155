/** Writes and ends at once. Arguments: how, and the descriptors to read from and write to. */
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { Peer } from "../support.js";

const [how, fds] = process.argv.slice(2) as [string, string];
const [readFd, writeFd] = fds.split(",").map(Number) as [number, number];

if (how === "worker" && isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { argv: ["worker", fds] });
  worker.once("message", () => void worker.terminate());
} else {
  const peer = new Peer(readFd, writeFd);
  switch (how) {
    case "return":
      peer.write("last words");
      peer.drained().then(() => peer.channel.close(), console.error);
      break;
    case "exit":
      peer.write("last words");
      process.exit(3);
      break;
    case "unref":
      peer.write("last words");
      peer.channel.unref();
      break;
    case "throw":
      peer.write("last words");
      throw new Error("the end");
    case "worker":
      // The worker is terminated before its event loop turns again.
      peer.write("last words");
      parentPort!.postMessage("written");
      for (;;);
    case "much":
      process.stdout.write(String(peer.fill()));
      peer.channel.unref();
      break;
    case "idle":
      peer.channel.unref();
      break;
  }
}
