// A client as a process: `client.js ADDRESS STATE COUNT` makes COUNT channels to ADDRESS (for `pipe:` and `stdio:` to a
// server that it spawns), brings each into the state of that name, and prints `ready` and the pids of its servers. Then
// it waits for its end. The programs that it runs inherit its standard error.
import { connect, spawn } from "@sluice/node";
import { clientOptions } from "../identity.js";
import { programPath } from "../processes.js";
import { enter, type stateNames } from "../states.js";

const [address, state, count] = process.argv.slice(2);
const servers: number[] = [];
for (let i = 0; i < Number(count); i++) {
  const channel = await open();
  void (await enter(state as (typeof stateNames)[number], channel));
}
console.log(["ready", ...servers].join(" "));
// Idle channels keep the process alive; so does this, if they do not.
process.stdin.resume();

async function open() {
  if (address !== "pipe:" && address !== "stdio:") return connect(address!, clientOptions);
  const { channel, process: child } = await spawn(process.execPath, [programPath("server"), address], {
    over: address,
    stdio: ["ignore", "ignore", "inherit"],
  });
  servers.push(child.pid!);
  return channel;
}
