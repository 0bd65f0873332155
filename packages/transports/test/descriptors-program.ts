/** A server that has no descriptor left for who connects; started with few allowed: node descriptors-program.js ADDRESS */
import { closeSync, openSync } from "node:fs";
import { Server } from "@sluice/core";
import { native } from "@sluice/native";
import { transports } from "@sluice/transports";

const server = new Server(transports, {});
const told = new Promise<Error>((resolve) => server.on("connectionError", resolve));
const { address } = await server.listen(process.argv[2]!);
const taken: number[] = [];
try {
  for (;;) taken.push(openSync("/dev/null", "r"));
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== "EMFILE") throw error;
}
// With one descriptor for that end, and none left for the server's.
closeSync(taken.pop()!);
const { hostname, port } = new URL(address);
const to = address.startsWith("tcp:")
  ? { address: hostname, port: Number(port) }
  : { path: address.slice(address.indexOf(":") + 1) };
new native!.SocketConnector(to, { onConnect() {}, onError: (error) => console.error(error) });
const { message } = await told;
for (const fd of taken) closeSync(fd);
console.log(message);
process.exit();
