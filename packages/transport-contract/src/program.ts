/**
 * The other process in the tests "between processes": node program.js MODULE EXPORT MODE ADDRESS OPTIONS
 */
import type { Connection, Transport, TransportOptions } from "@sluice/core";
import { echo } from "./echo.js";
import { makeFrame } from "./frames.js";

export type Mode =
  "listen-echo" | "listen-sink" | "listen-unref" | "connect-echo" | "connect-flood" | "connect-unref";

/** Answers the first frame, and takes the rest. */
function sink(connection: Connection): void {
  let answered = false;
  connection.start({
    onFrame() {
      if (answered) return;
      answered = true;
      send(connection);
    },
    onWritable() {},
    onClose() {},
  });
}

/** Sends as fast as it can, a little in each turn of the event loop. */
function flood(connection: Connection): void {
  let closed = false;
  const turn = (): void => {
    for (let i = 0; i < 100 && send(connection); i++);
    if (!closed) setImmediate(turn);
  };
  connection.start({
    onFrame() {},
    onWritable() {},
    onClose() {
      closed = true;
    },
  });
  turn();
}

function send(connection: Connection): boolean {
  const frame = makeFrame(0, 1000);
  if (!connection.reserve(frame.length)) return false;
  connection.memory.set(frame, connection.rangeStart);
  connection.commit(frame.length);
  return true;
}

const [url, name, mode, address, json] = process.argv.slice(2) as [string, string, Mode, string, string];
/** An export, or a property of one: `name` may have dots. */
const transport = name
  .split(".")
  .reduce<unknown>((object, key) => (object as Record<string, unknown>)[key], await import(url)) as Transport;
const options = JSON.parse(json) as TransportOptions;

switch (mode) {
  case "listen-echo":
  case "listen-sink": {
    const listener = await transport.listen(address, mode === "listen-echo" ? echo : sink, options);
    console.log(listener.address);
    break;
  }
  case "listen-unref": {
    const listener = await transport.listen(address, echo, options);
    listener.unref();
    console.log(listener.address);
    break;
  }
  case "connect-echo":
    echo(await transport.connect(address, options));
    break;
  case "connect-flood":
    flood(await transport.connect(address, options));
    break;
  case "connect-unref": {
    const connection = await transport.connect(address, options);
    echo(connection);
    connection.unref();
    break;
  }
}
