/** Locks a file, and dies with the lock. */
import { native } from "../support.js";

process.stdout.write(native.lockFile(process.argv[2]) === undefined ? "refused" : "locked", () =>
  process.kill(process.pid, "SIGKILL"),
);
