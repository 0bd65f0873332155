/** Says when a child that it has killed is gone. */
import { spawn } from "node:child_process";
import { native } from "../support.js";

const child = spawn("sleep", ["60"], { stdio: "ignore" });
// The watch does not keep this process alive.
const alive = setInterval(() => {}, 1000);
new native.ProcessWatch(child.pid!, {
  onExit() {
    console.log("gone");
    clearInterval(alive);
  },
});
child.kill("SIGKILL");
