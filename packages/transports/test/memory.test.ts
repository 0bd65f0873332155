import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import type { Connection, Listener } from "@sluice/core";
import { makeFrame } from "@sluice/transport-contract";
import { memory } from "@sluice/transports";

describe("a connection within one thread", () => {
  it("lets the event loop turn beside two ends that are never done", async () => {
    const frame = makeFrame(0, 4096);
    let carried = 0;
    let most = 0;
    let ended = false;
    /** Whatever arrives, as much as there is room for is sent. */
    const sending = (connection: Connection) => {
      const send = () => {
        while (!ended && connection.reserve(frame.length)) {
          connection.memory.set(frame, connection.rangeStart);
          connection.commit(frame.length);
        }
      };
      connection.start({
        onFrame(_memory, start, end) {
          carried += end - start;
          send();
        },
        onWritable: send,
        onClose() {},
      });
      send();
      return connection;
    };
    const listener: Listener = await memory.listen("memory:busy", sending, {});
    const connection = sending(await memory.connect("memory:busy", {}));
    for (let turn = 0; turn < 50; turn++) {
      const before = carried;
      await setImmediate();
      most = Math.max(most, carried - before);
    }
    ended = true;
    connection.close();
    await listener.close();
    expect(carried).to.be.above(1 << 20);
    // 128 pieces of 4 KiB, and what a last delivery has beyond.
    expect(most).to.be.at.most(2 << 20);
  });
});
