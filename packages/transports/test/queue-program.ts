/** The other process in the tests of message queues: node queue-program.js SCHEME MODE ADDRESS */
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { echo, makeFrame } from "@sluice/transport-contract";
import { nativeTransports } from "@sluice/transports";

const [scheme, mode, address] = process.argv.slice(2) as ["mq" | "sysvmq", string, string];
const transport = nativeTransports![scheme];

switch (mode) {
  case "listen":
    await transport.listen(address, echo, {});
    console.log("ready");
    break;

  case "listen-exit":
    await transport.listen(address, echo, {});
    process.exit();
    break;

  case "connect":
    echo(await transport.connect(address, {}));
    console.log("ready");
    break;

  case "exit": {
    const connection = await transport.connect(address, {});
    connection.start({ onFrame() {}, onWritable() {}, onClose() {} });
    for (const frame of [makeFrame(0, 100), makeFrame(1, 200)]) {
      connection.reserve(frame.length);
      connection.memory.set(frame, connection.rangeStart);
      connection.commit(frame.length);
    }
    process.exit();
  }

  case "without-threads":
    // There is no other process of this user.
    process.setuid!(65_432);
    for (const more of [1, 0]) {
      const threads = readdirSync("/proc/self/task").length + more;
      execFileSync("prlimit", ["--pid", String(process.pid), `--nproc=${threads}:`]);
      await transport.listen(address, echo, {}).catch((error: Error) => console.log(error.message));
    }
}
