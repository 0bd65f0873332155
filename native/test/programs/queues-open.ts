/** Exits with queues open: node queues-open.js NAME. Says the number of the System V queue. */
import { native } from "../support.js";

const nobody = { onMessages() {}, onRoom() {}, onError() {} };
new native.PosixQueue(process.argv[2]!, nobody, { messages: 2, messageBytes: 64 }).start();
const queue = new native.SysvQueue({}, nobody);
queue.start();
console.log(queue.id);
process.exit();
