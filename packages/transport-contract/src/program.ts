/**
 * The other process in the tests "between processes": node program.js MODULE EXPORT MODE ADDRESS OPTIONS
 */
import type { Connection, Transport, TransportOptions } from "@sluice/core";
import { echo } from "./echo.js";
import { makeFrame } from "./frames.js";

export type Mode =
  "listen-echo" | "listen-sink" | "listen-unref" | "connect-echo" | "connect-flood" | "connect-unref";

function sink(connection: Connection): void {
  connection.start({ onFrame() {}, onWritable() {}, onClose() {} });
}

/** Sends as fast as it can. */
function flood(connection: Connection): void {
  const frame = makeFrame(0, 1000);
  const fill = (): void => {
    while (connection.reserve(frame.length)) {
      connection.memory.set(frame, connection.rangeStart);
      connection.commit(frame.length);
    }
  };
  connection.start({ onFrame() {}, onWritable: fill, onClose() {} });
  fill();
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
