/**
 * One end in the tests of `udp:`, in a process or a thread of its own: node udp-program.js listen|connect ADDRESS. Says where it listens, or that
 * it is connected, and ends as it reads on standard input: `exit` or `throw`.
 */
import { nativeTransports } from "@sluice/transports";
import { EchoSite } from "./echo-site.js";

const [side, address] = process.argv.slice(2) as ["listen" | "connect", string];
const site = new EchoSite(nativeTransports!.udp);
process.stdin.once("data", (how) => {
  if (String(how) === "exit") process.exit();
  throw new Error("meant to be caught by nobody");
});
if (side === "listen") {
  console.log(await site.listen(address));
} else {
  await site.connect(address);
  console.log("connected");
}
