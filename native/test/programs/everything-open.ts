/** Ends with everything open. Arguments: a socket's path, and whether to call process.exit. */
import { carriers, native, Peer } from "../support.js";

const [path, how] = process.argv.slice(2) as [string, string];
for (const connect of Object.values(carriers)) {
  const [left, right] = connect();
  const peers = [new Peer(...left), new Peer(...right, { start: false })];
  for (const { channel } of peers) channel.unref();
  // Which would keep the process from ending by itself.
  if (how === "exit") peers[0].fill();
}
native.pipe2();
const handler = { onConnection: (fd: number) => new Peer(fd).channel.unref(), onError() {} };
const listener = new native.SocketListener({ path }, handler);
const connected = { onConnect: (fd: number) => new Peer(fd).channel.unref(), onError() {} };
new native.SocketConnector({ path }, connected);
if (how === "exit") {
  new native.SocketConnector({ path }, connected);
  process.exit(5);
}
listener.unref();
