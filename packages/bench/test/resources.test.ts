import { expect } from "chai";
import { measureAllocation } from "@sluice/bench/allocation.js";
import { measureHeld } from "@sluice/bench/held.js";
import { installedSize } from "@sluice/bench/size.js";
import { measureStartUp } from "@sluice/bench/start-up.js";

describe("resources", function () {
  this.timeout(120_000);

  it("weighs calls in flight, at both ends", async () => {
    const { calls, ...perCall } = await measureHeld("sluice", "unix", () => {});
    expect(calls).to.equal(8000);
    const { serverBytesPerCall, clientBytesPerCall, serverPssBytesPerCall, clientPssBytesPerCall } = perCall;
    // The message that is held is 64 bytes.
    expect(serverBytesPerCall).to.be.within(64, 100_000);
    expect(clientBytesPerCall).to.be.within(64, 100_000);
    // V8 may have had the room already.
    expect(serverPssBytesPerCall).to.be.within(-10_000, 100_000);
    expect(clientPssBytesPerCall).to.be.within(-10_000, 100_000);
  });

  it("samples what calls allocate, at both ends", async () => {
    const { client, server, calls } = await measureAllocation("sluice", "unix", undefined, () => {});
    expect(calls).to.be.above(0);
    for (const { libraryBytes, messageBytes } of [client, server]) {
      expect(libraryBytes).to.be.within(1, 10_000);
      // A message has a body, which is an array of 64 bytes.
      expect(messageBytes).to.be.within(64, 10_000);
    }
  });

  it("times start-up, without what does not start", async () => {
    const skipped: string[] = [];
    const [sluice, ...others] = await measureStartUp(
      [
        ["node:net", "carrier pigeon"],
        ["sluice", "unix"],
      ],
      undefined,
      (implementation, transport, error) => skipped.push(`${implementation} ${transport}: ${error as Error}`),
      () => {},
    );
    expect(others).to.deep.equal([]);
    expect(sluice).to.include({ implementation: "sluice", transport: "unix", rounds: 5 });
    expect(sluice.loadMs).to.be.above(0);
    expect(sluice.firstCallMs).to.be.above(0);
    expect(skipped).to.deep.equal([
      "node:net carrier pigeon: Error: node:net is not measured over carrier pigeon",
    ]);
  });

  it("weighs packages with what they depend on", () => {
    const [core, node] = ["@sluice/core", "@sluice/node"].map((name) => installedSize(name)!);
    expect(node.packages).to.be.above(core.packages);
    expect(node.bytes).to.be.above(core.bytes);
    expect(installedSize("@sluice/carrier-pigeons")).to.equal(undefined);
  });
});
