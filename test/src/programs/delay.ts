// A long way to a server over UDP: `delay.js HOST SERVER MS` prints the address at HOST from which datagrams go on to SERVER, an address too,
// and back, each MS later. Ends with its standard input.
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";

/** Datagrams on their way, both ways together: far more than the congestion windows of a test. What comes beyond is lost. */
const MOST_UNDER_WAY = 10_000;

const [host, server, ms] = process.argv.slice(2) as [string, string, string];
const { hostname, port } = new URL(server);
const near = createSocket("udp4");
/** The sockets by which the server knows its clients, by the clients' addresses. */
const far = new Map<string, Socket>();
let underWay = 0;

function later(send: () => void): void {
  if (underWay === MOST_UNDER_WAY) return;
  underWay++;
  setTimeout(() => {
    underWay--;
    send();
  }, Number(ms));
}

function socketOf(client: RemoteInfo): Socket {
  const key = `${client.address} ${client.port}`;
  let socket = far.get(key);
  if (socket === undefined) {
    socket = createSocket("udp4");
    socket.on("message", (datagram) => later(() => near.send(datagram, client.port, client.address)));
    far.set(key, socket);
  }
  return socket;
}

near.on("message", (datagram, client) => {
  const socket = socketOf(client);
  later(() => socket.send(datagram, Number(port), hostname));
});
near.bind(0, host, () => console.log(`udp://${host}:${near.address().port}`));
process.stdin.resume().once("end", () => process.exit());
