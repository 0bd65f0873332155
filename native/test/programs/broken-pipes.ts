/** Writes to a pipe and a socket that nobody reads any more, in the main thread and in a worker; prints the errors. */
import { isMainThread, Worker } from "node:worker_threads";
import { carriers, native, Peer } from "../support.js";

const codes: string[] = [];
for (const connect of Object.values(carriers)) {
  const [left, right] = connect();
  const peer = new Peer(...left);
  for (const fd of new Set(right)) native.closeFd(fd);
  peer.write("x");
  peer.channel.flush();
  await peer.until(() => peer.errors.length > 0);
  codes.push(peer.errors[0].code);
}
process.stdout.write(`${codes.join(" ")}\n`);
if (isMainThread) new Worker(new URL(import.meta.url));
