/** A server in a process of its own: node server.js VARIANT ADDRESS [UID]. Says its address, or the error, and lives until killed. */
import { echo } from "@sluice/transport-contract";
import { variants } from "./variants.js";

const [variant, address, uid] = process.argv.slice(2) as [string, string, string | undefined];
const { transports } = variants.find(({ name }) => name === variant)!;
if (uid !== undefined) process.setuid!(Number(uid));
try {
  const allowPeer = uid === undefined ? "same-user" : "any";
  const listener = await transports.unix.listen(address, echo, { allowPeer });
  console.log(listener.address);
} catch (error) {
  console.log(String(error));
}
