/** A worker that has queues open, one of which it has last words for: node queue-worker.js REFERENCE HOW */
import { native } from "../support.js";

const [reference, how] = process.argv.slice(2) as [string, string];
const nobody = { onMessages() {}, onRoom() {}, onError() {} };
const queue = reference.startsWith("/")
  ? new native.PosixQueue(reference, nobody)
  : new native.SysvQueue({ id: Number(reference) }, nobody);
queue.setLastWords(Buffer.from("last words"));
queue.send(Buffer.from("ready"));
// One whose thread waits for a message.
const own = new native.SysvQueue({}, nobody);
own.start();
if (how === "exit") process.exit();
if (how === "return") {
  own.unref();
  queue.unref();
}
