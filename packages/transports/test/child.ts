/** The child in the tests of `pipe:` and `stdio:`: node child.js VARIANT SCHEME MODE */
import { execFileSync, spawnSync } from "node:child_process";
import { fstatSync } from "node:fs";
import type { Connection } from "@sluice/core";
import { echo } from "@sluice/transport-contract";
import { sendText, textOf } from "./text.js";
import { variants } from "./variants.js";

const [variant, scheme, mode] = process.argv.slice(2) as [string, "pipe" | "stdio", string];
const { transports } = variants.find(({ name }) => name === variant)!;
const transport = transports[scheme];

/** Calls `answer` with the text of each frame, and sends back what it returns. */
function serve(answer: (text: string) => string): (connection: Connection) => void {
  return (connection) =>
    connection.start({
      onFrame: (memory, start, end) => sendText(connection, answer(textOf(memory, start, end))),
      onWritable() {},
      onClose() {},
    });
}

const refusalOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "not refused",
    (error: unknown) => String(error),
  );

switch (mode) {
  case "echo":
    await transport.listen(`${scheme}:`, echo, {});
    break;

  case "print": {
    await transport.listen(
      `${scheme}:`,
      serve((text) => {
        console.log("by console.log");
        process.stdout.write("by process.stdout\n");
        // A program that inherits the standard streams.
        if (variant === "native") execFileSync("echo", ["by a program"], { stdio: "inherit" });
        return `${text}, ${process.stdin.read() === null ? "nothing" : "something"} on standard input`;
      }),
      {},
    );
    break;
  }

  case "inspect": {
    const before = process.env["SLUICE_PIPE"];
    const kinds = (before ?? "0,1").split(",").map((word) => fstatSync(Number.parseInt(word, 10)).isFIFO());
    await transport.listen(
      `${scheme}:`,
      serve(() => JSON.stringify(report)),
      {},
    );
    const report = {
      kinds,
      before,
      after: process.env["SLUICE_PIPE"] ?? "unset",
      again: await refusalOf(transport.listen(`${scheme}:`, (connection) => connection.destroy(), {})),
      grandchild: spawnSync(process.execPath, ["-p", "process.env.SLUICE_PIPE"], { encoding: "utf8" }).stdout,
    };
    break;
  }

  case "exit":
    await transport.listen(
      `${scheme}:`,
      serve(() => process.exit(3)),
      {},
    );
    break;

  case "close":
    await transport.listen(
      `${scheme}:`,
      (connection) => {
        connection.start({ onFrame() {}, onWritable() {}, onClose() {} });
        sendText(connection, "last words");
        connection.close();
      },
      {},
    );
    // Lives on without the connection, until it is killed.
    setInterval(() => {}, 1000);
    break;

  case "orphan":
    // A process that inherits the variable but not the pipes.
    spawnSync(process.execPath, [process.argv[1]!, variant, scheme, "refused"], {
      stdio: ["ignore", 2, "inherit"],
    });
    break;

  case "refused":
    console.log(await refusalOf(transport.listen(`${scheme}:`, (connection) => connection.destroy(), {})));
    break;

  case "parent": {
    // Spawns an echoing child, says its pid and lives until it is killed.
    const { connection, process: child } = await transports.spawn(
      process.execPath,
      [process.argv[1]!, variant, scheme, "echo"],
      { over: `${scheme}:`, stdio: ["ignore", "ignore", "inherit"] },
    );
    connection.start({
      onFrame: () => console.log(child.pid),
      onWritable() {},
      onClose() {},
    });
    sendText(connection, "ready");
    break;
  }

  case "unref": {
    // Ends though its child and the connection live.
    const { connection } = await transports.spawn(
      process.execPath,
      [process.argv[1]!, variant, scheme, "echo"],
      { over: `${scheme}:`, stdio: ["ignore", "ignore", "inherit"] },
    );
    connection.start({
      onFrame: () => connection.unref(),
      onWritable() {},
      onClose() {},
    });
    sendText(connection, "ready");
    break;
  }
}
