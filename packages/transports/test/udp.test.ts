import { networkInterfaces } from "node:os";
import { expect } from "chai";
import { Status, type Listener, type TransportOptions } from "@sluice/core";
import { echo, Endpoint, makeFrame } from "@sluice/transport-contract";
import { refusal } from "./refusal.js";
import { describeVariants } from "./subjects.js";

/** An IPv4 address of this host that is not loopback, if it has one. Connecting to it does not leave the host. */
const outward = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry!.family === "IPv4" && !entry!.internal)?.address;

const SECRET = "5e".repeat(32);
const OTHER = "e5".repeat(32);

describeVariants("udp", ({ transports: { udp } }) => {
  let listeners: Listener[] = [];
  let endpoints: Endpoint[] = [];

  async function listen(address = "udp://127.0.0.1:0", options: TransportOptions = {}): Promise<string> {
    const listener = await udp.listen(address, echo, options);
    listeners.push(listener);
    return listener.address;
  }

  async function echoes(address: string, options: TransportOptions = {}): Promise<Endpoint> {
    const endpoint = new Endpoint(await udp.connect(address, options));
    endpoints.push(endpoint);
    endpoint.start().send(makeFrame(0, 5000));
    await endpoint.received(1);
    return endpoint;
  }

  afterEach(async () => {
    for (const endpoint of endpoints) endpoint.destroy();
    await Promise.all(endpoints.map((endpoint) => endpoint.closed));
    await Promise.all(listeners.map((listener) => listener.close()));
    listeners = [];
    endpoints = [];
  });

  it("fills in the port that the kernel chose, and knows the peer's address", async () => {
    const address = await listen();
    expect(address).to.match(/^udp:\/\/127\.0\.0\.1:[1-9]\d*$/);
    expect(await listen("udp://[::1]:0")).to.match(/^udp:\/\/\[::1\]:[1-9]\d*$/);
    const near = await echoes(address);
    expect(near.connection.peer).to.deep.equal({
      address,
      remoteAddress: "127.0.0.1",
      remotePort: Number(address.split(":")[2]),
    });
  });

  it("tells of the death of peers by itself", async () => {
    const near = await echoes(await listen());
    expect(near.connection.traits.peerDeath).to.equal("carrier");
    expect(near.connection.traits.reconnectable).to.equal(true);
  });

  it("takes a secret as bytes or as digits, and no other", async () => {
    const address = await listen(undefined, { secret: SECRET });
    await echoes(address, { secret: SECRET.toUpperCase() });
    await echoes(address, { secret: new Uint8Array(32).fill(0x5e) });
    for (const secret of ["", "secret", SECRET.slice(1), `${SECRET}00`, new Uint8Array(31), 5, null]) {
      for (const promise of [
        udp.connect(address, { secret }),
        udp.listen("udp://127.0.0.1:0", echo, { secret }),
      ]) {
        const error = await refusal(promise, Status.INVALID_ARGUMENT);
        expect(error.message).to.contain("32 bytes").and.to.contain("sluice secret");
        if (typeof secret === "string" && secret !== "secret") expect(error.message).to.not.contain("5e5e");
      }
    }
  });

  it("says which end lacks a secret, or that they differ", async () => {
    const open = await listen();
    const closed = await listen(undefined, { secret: SECRET });
    for (const [address, options, message] of [
      [open, { secret: SECRET }, "it has no secret"],
      [closed, {}, "it has a secret"],
      [closed, { secret: OTHER }, "its secret is not the one given here"],
    ] as const) {
      const error = await refusal(udp.connect(address, options), Status.PERMISSION_DENIED);
      expect(error.message).to.contain(message).and.to.contain(address);
    }
    await echoes(closed, { secret: SECRET });
  });

  it("goes beyond this host only with a secret, or if told that this is insecure", async function () {
    for (const host of ["0.0.0.0", "[::]", ...(outward === undefined ? [] : [outward])]) {
      const error = await refusal(udp.listen(`udp://${host}:0`, echo, {}), Status.INVALID_ARGUMENT);
      expect(error.message).to.contain("secret").and.to.contain("insecure: true");
    }
    const error = await refusal(udp.connect("udp://192.0.2.1:5000", {}), Status.INVALID_ARGUMENT);
    expect(error.message).to.contain("connect to").and.to.contain("secret");
    if (outward === undefined) this.skip();
    const secretive = await listen(`udp://${outward}:0`, { secret: SECRET });
    await echoes(secretive, { secret: SECRET });
    const insecure = await listen(`udp://${outward}:0`, { insecure: true });
    await echoes(insecure, { insecure: true });
  });

  it("refuses a time-out that is none", async () => {
    for (const idleTimeoutMs of [0, 499, 600_001, 1000.5, "1000", NaN]) {
      const error = await refusal(
        udp.connect("udp://127.0.0.1:1", { idleTimeoutMs }),
        Status.INVALID_ARGUMENT,
      );
      expect(error.message).to.contain("idleTimeoutMs").and.to.contain("from 500 to 600000");
    }
  });

  it("says that nobody listens", async () => {
    const address = await listen();
    await listeners[0]!.close();
    const error = await refusal(udp.connect(address, {}), Status.UNAVAILABLE);
    expect(error.message).to.contain(address).and.to.contain("nobody listens there");
  });

  it("refuses to connect to port 0", async () => {
    const error = await refusal(udp.connect("udp://127.0.0.1:0", {}), Status.INVALID_ARGUMENT);
    expect(error.message).to.contain("port 0");
  });
});
