/** Listens at a path, and never gets to accepting. */
import { writeSync } from "node:fs";
import { native } from "../support.js";

const handler = { onConnection() {}, onError() {} };
new native.SocketListener({ path: process.argv[2] }, handler, { backlog: 1 });
writeSync(1, "listening");
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
