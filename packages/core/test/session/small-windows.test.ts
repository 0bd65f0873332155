import { expect } from "chai";
import { Status } from "@sluice/core";
import { connectPair, IDLE, rejection } from "./fixture.js";
import { dataOf, sameBytes, type Part } from "./simulation/service.js";

describe("a session with small windows and frames", () => {
  for (const windowBytes of [4096, 10_000, 40_000, 70_000, 100_000]) {
    for (const maxFrameBytes of [4096, 16 << 10, 65 << 10]) {
      it(`carries messages of any size in windows of ${windowBytes} and frames of ${maxFrameBytes} bytes`, async () => {
        const unchecked = { streamWindowBytes: windowBytes, connectionWindowBytes: windowBytes };
        const end = { unchecked };
        const { simulation, calls, usage } = await connectPair({
          client: end,
          server: end,
          link: { maxFrameBytes, capacityBytes: maxFrameBytes },
        });
        const near = (size: number): number[] => [size - 40, size - 16, size - 12, size, size + 12];
        const sizes = [0, 1, 2000, windowBytes / 2, windowBytes, maxFrameBytes, 200_000].flatMap(near);
        const parts: Part[] = sizes
          .filter((size) => size >= 0)
          .map((size, index) => ({ index, data: dataOf(1, index, Math.floor(size)) }));
        let at = 0;
        const running = (async () => {
          for await (const { index, data } of calls.bidi(parts)) {
            expect(index).to.equal(at);
            expect(sameBytes(data, parts[at].data), `message ${at} of ${data.length} bytes`).to.equal(true);
            at++;
          }
        })();
        await simulation.run(1000);
        expect(at).to.equal(parts.length);
        await running;
        expect(usage()).to.deep.equal([IDLE, IDLE]);
      });
    }
  }

  it("carries the largest metadata that it admits, and refuses what is larger, whatever the window", async () => {
    for (const windowBytes of [4096, 16 << 10, 64 << 10]) {
      const end = { unchecked: { streamWindowBytes: windowBytes, connectionWindowBytes: windowBytes } };
      const { simulation, calls } = await connectPair({ client: end, server: end });
      let largest = 0;
      for (let bytes = 16; bytes < windowBytes; bytes += 997) {
        const call = calls
          .unary({ index: 1, data: new Uint8Array(100) }, { metadata: { x: "x".repeat(bytes) } })
          .then(
            () => void (largest = bytes),
            (error: unknown) =>
              expect(error).to.include({ code: Status.RESOURCE_EXHAUSTED, mayHaveRun: false }),
          );
        await simulation.run(1000);
        await call;
      }
      expect(largest).to.be.above(windowBytes / 6);
    }
  });

  it("cuts a status message that fits no window", async () => {
    const end = { unchecked: { streamWindowBytes: 4096, connectionWindowBytes: 4096 } };
    const { simulation, calls } = await connectPair({
      client: end,
      server: {
        ...end,
        implementation: {
          unary() {
            throw new Error("long".repeat(2000));
          },
        },
      },
    });
    const failed = rejection(calls.unary({ index: 1, data: new Uint8Array(0) }));
    await simulation.run(1000);
    expect((await failed).message).to.match(/^(long){50}/);
  });
});
