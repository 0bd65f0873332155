import type { Connection } from "@sluice/core";

/** Starts the connection, and sends every frame back that comes; those for which there is no room wait. */
export function echo(connection: Connection): void {
  const waiting: Uint8Array[] = [];
  const send = (frame: Uint8Array): boolean => {
    if (!connection.reserve(frame.length)) return false;
    connection.memory.set(frame, connection.rangeStart);
    connection.commit(frame.length);
    return true;
  };
  const drain = (): void => {
    while (waiting.length > 0 && send(waiting[0]!)) waiting.shift();
  };
  connection.start({
    onFrame(memory, start, end) {
      waiting.push(memory.slice(start, end));
      if (waiting.length === 1) drain();
    },
    onWritable: drain,
    onClose() {},
  });
}
