/** A worker that has everything open, and writes all the time. Argument: how it ends. */
import { parentPort } from "node:worker_threads";
import { carriers, native, Peer } from "../support.js";

const how = process.argv[2];
const peers: Peer[] = [];
for (const connect of Object.values(carriers)) {
  const [left, right] = connect();
  const writer = new Peer(...left);
  const echo = new Peer(...right);
  echo.onData = (bytes) => echo.write(bytes);
  writer.onData = (bytes) => writer.write(bytes);
  writer.write("round and round");
  peers.push(writer, echo);
}

// One that is never read, so that it always waits for room: a worker with unsent bytes does not end by itself.
const [left, right] = native.socketPair();
if (how !== "return") new Peer(left).fill();
// Descriptors that nobody takes.
native.pipe2();
native.dup(right);

const handler = {
  onConnection: (fd: number) => void peers.push(new Peer(fd)),
  onError() {},
};
const connected = { onConnect: (fd: number) => void peers.push(new Peer(fd)), onError() {} };
for (const address of [
  { path: `@sluice-${process.pid}-${performance.now()}` },
  { address: "127.0.0.1", port: 0 },
]) {
  const listener = new native.SocketListener(address, handler);
  if (how === "return") listener.unref();
  for (let count = 0; count < 5; count++) new native.SocketConnector(listener.address(), connected);
}

setTimeout(() => {
  parentPort!.postMessage("busy");
  if (how === "return") {
    for (const { channel } of peers) channel.unref();
  }
  if (how === "exit") process.exit(7);
  if (how === "throw") throw new Error("the end");
}, 5);
