// Starts `sync-child` over pipes, serves it, prints what it prints, and then hangs up.
import { createInterface } from "node:readline";
import { spawn } from "@sluice/node";
import { programPath } from "../processes.js";
import { addServices } from "../services.js";

const { channel, process: child } = await spawn(process.execPath, [programPath("sync-child")], {
  stdio: ["ignore", "pipe", "inherit"],
  services: (serving) => addServices(serving, () => {}),
});
for await (const line of createInterface(child.stdout!)) {
  console.log(line);
  if (line.startsWith("echoed")) await channel.close();
}
