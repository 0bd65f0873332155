import { once } from "node:events";
import { connect as netConnect, createServer, type AddressInfo } from "node:net";
import { expect } from "chai";
import { Status } from "@sluice/core";
import { makeFrame } from "@sluice/transport-contract";
import { EchoSite, outward } from "./echo-site.js";
import { refusal } from "./refusal.js";
import { describeVariants } from "./variants.js";

describeVariants("tcp", ({ transports: { tcp } }) => {
  let site: EchoSite;
  beforeEach(() => {
    site = new EchoSite(tcp);
  });
  afterEach(() => site.close());

  it("fills in the port that the kernel chose", async () => {
    expect(await site.listen("tcp://127.0.0.1:0")).to.match(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);
    expect(await site.listen("tcp://[::1]:0")).to.match(/^tcp:\/\/\[::1\]:[1-9]\d*$/);
    expect(await site.listen("tcp://localhost:0")).to.match(/^tcp:\/\/localhost:[1-9]\d*$/);
  });

  it("knows the remote address and port at both ends", async () => {
    const address = await site.listen("tcp://127.0.0.1:0");
    const near = await site.connect(address);
    const far = site.endpoints[1]!;
    expect(near.connection.peer).to.deep.equal({
      address,
      remoteAddress: "127.0.0.1",
      remotePort: Number(address.split(":")[2]),
    });
    expect(far.connection.peer.address).to.equal(address);
    expect(far.connection.peer.remoteAddress).to.equal("127.0.0.1");
    expect(far.connection.peer.remotePort).to.be.above(0);
  });

  it("resolves names, and tries each of their addresses", async () => {
    // Whichever family localhost is resolved to first, a server of the other is found as well.
    for (const host of ["127.0.0.1", "[::1]"]) {
      const port = (await site.listen(`tcp://${host}:0`)).split(":").at(-1);
      await site.connect(`tcp://localhost:${port}`).catch((error: Error) => {
        // Where localhost has no IPv6 address, there is nothing to find.
        if (host === "127.0.0.1" || !error.message.includes("ECONNREFUSED")) throw error;
      });
    }
  });

  it("learns of a peer's death from the kernel on this host", async () => {
    const near = await site.connect(await site.listen("tcp://127.0.0.1:0"));
    expect(near.connection.traits.peerDeath).to.equal("carrier");
    expect(near.connection.traits.reconnectable).to.equal(true);
  });

  it("listens beyond this host only if told that this is insecure", async function () {
    for (const host of ["0.0.0.0", "[::]", ...(outward === undefined ? [] : [outward])]) {
      const error = await refusal(
        tcp.listen(`tcp://${host}:0`, () => {}, {}),
        Status.INVALID_ARGUMENT,
      );
      expect(error.message).to.contain("insecure: true").and.to.contain("127.0.0.1");
    }
    if (outward === undefined) this.skip();
    const address = await site.listen(`tcp://${outward}:0`, { insecure: true });
    const near = await site.connect(address);
    // As far as the address tells, this peer may be anywhere.
    expect(near.connection.traits.peerDeath).to.equal("keepalive");
  });

  it("refuses an insecure that is no boolean", async () => {
    const error = await refusal(
      tcp.listen("tcp://127.0.0.1:0", () => {}, { insecure: "yes" }),
      Status.INVALID_ARGUMENT,
    );
    expect(error.message).to.equal('option insecure must be true or false, not "yes"');
  });

  it("says that the port is in use", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const address = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const error = await refusal(
        tcp.listen(address, () => {}, {}),
        Status.ALREADY_EXISTS,
      );
      expect(error.message).to.contain(address).and.to.contain("in use").and.to.contain("EADDRINUSE");
    } finally {
      server.close();
    }
  });

  it("says that nobody listens", async () => {
    const address = await site.listen("tcp://127.0.0.1:0");
    await site.listeners[0]!.close();
    const error = await refusal(tcp.connect(address, {}), Status.UNAVAILABLE);
    expect(error.message).to.contain(address).and.to.contain("nobody listens there");
  });

  it("says that a name or an address is not to be had", async () => {
    // Malformed as a name, so that no server is asked for it.
    for (const promise of [tcp.connect("tcp://a..b:80", {}), tcp.listen("tcp://a..b:80", () => {}, {})]) {
      const error = await refusal(promise, Status.UNAVAILABLE);
      expect(error.message).to.contain("a..b").and.to.contain("cannot be resolved");
    }
    const foreign = await refusal(
      tcp.listen("tcp://192.0.2.1:0", () => {}, { insecure: true }),
      Status.INVALID_ARGUMENT,
    );
    expect(foreign.message).to.contain("no network interface");
  });

  it("refuses to connect to port 0", async () => {
    const error = await refusal(tcp.connect("tcp://127.0.0.1:0", {}), Status.INVALID_ARGUMENT);
    expect(error.message).to.contain("port 0");
  });

  it("serves clients that only know sockets", async () => {
    const port = Number((await site.listen("tcp://127.0.0.1:0")).split(":")[2]);
    const client = netConnect(port, "127.0.0.1");
    client.write(makeFrame(5, 300));
    const [answer] = (await once(client, "data")) as [Buffer];
    expect(Buffer.compare(answer, makeFrame(5, 300))).to.equal(0);
    client.destroy();
    await site.endpoints[0]!.closed;
  });
});
