import { expect } from "chai";
import { RpcError, Server, Status, type EndpointOptions } from "@sluice/core";
import { Emitter } from "#core/emitter.js";
import { connectPair, rejection } from "./session/fixture.js";

describe("the options of a server", () => {
  for (const options of [
    { keepalive: { interval: 20_000 } },
    { keepalive: { intervalMs: -1 } },
    { keepalive: 5 },
    { keepalive: null },
    { limit: {} },
    { limits: 5 },
    { limits: null },
    { limits: { maxMessageBytes: 0.5 } },
    { interceptors: 5 },
    { interceptors: [5] },
  ]) {
    it(`are refused when it is made: ${JSON.stringify(options)}`, () => {
      expect(() => new Server([], options as unknown as EndpointOptions))
        .to.throw(RpcError)
        .with.property("code", Status.INVALID_ARGUMENT);
    });
  }
});

describe("the options of close", () => {
  it("are refused, with nothing closed", async () => {
    const { client, simulation } = await connectPair();
    for (const timeoutMs of [NaN, -1, "5000"]) {
      const options = { timeoutMs: timeoutMs as number };
      expect(await rejection(client.close(options))).to.include({ code: Status.INVALID_ARGUMENT });
      expect(await rejection(new Server([], {}).close(options))).to.include({
        code: Status.INVALID_ARGUMENT,
      });
    }
    expect(client.state).to.equal("ready");
    const closed = client.close({ timeoutMs: Infinity });
    await simulation.run();
    await closed;
  });
});

describe("a listener that throws", () => {
  it("raises an uncaught exception, and keeps nothing from who emits or from others", async () => {
    const emitter = new Emitter<{ event: [number] }>();
    const told: number[] = [];
    emitter.on("event", () => {
      throw new Error("by a listener");
    });
    emitter.on("event", (number) => void told.push(number));
    const thrown: string[] = [];
    process.setUncaughtExceptionCaptureCallback(({ message }) => thrown.push(message));
    try {
      emitter.emit("event", 5);
      expect(told).to.deep.equal([5]);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.setUncaughtExceptionCaptureCallback(null);
    }
    expect(thrown).to.deep.equal(["by a listener"]);
  });
});
