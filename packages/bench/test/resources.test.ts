import { expect } from "chai";
import { measureAllocation } from "@sluice/bench/allocation.js";
import { measureHeld } from "@sluice/bench/held.js";
import type { Skipped } from "@sluice/bench/result.js";
import { installedSize } from "@sluice/bench/size.js";
import { measureEach } from "@sluice/bench/skipping.js";
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
    const skipped: Skipped[] = [];
    const [sluice, ...others] = await measureStartUp(
      [
        ["node:net", "carrier pigeon"],
        ["sluice", "unix"],
      ],
      undefined,
      skipped,
      () => {},
    );
    expect(others).to.deep.equal([]);
    expect(sluice).to.include({ implementation: "sluice", transport: "unix", rounds: 5 });
    expect(sluice.loadMs).to.be.above(0);
    expect(sluice.firstCallMs).to.be.above(0);
    const reason = "node:net is not measured over carrier pigeon";
    expect(skipped).to.deep.equal([{ implementation: "node:net", transport: "carrier pigeon", reason }]);
  });

  it("times no start-up of what stops working meanwhile, and says why", async () => {
    const { SLUICE_NATIVE } = process.env;
    const skipped: Skipped[] = [];
    const withoutAddon = () => (process.env["SLUICE_NATIVE"] = "0");
    try {
      expect(await measureStartUp([["sluice", "shm"]], undefined, skipped, withoutAddon)).to.deep.equal([]);
    } finally {
      delete process.env["SLUICE_NATIVE"];
      Object.assign(process.env, SLUICE_NATIVE === undefined ? {} : { SLUICE_NATIVE });
    }
    expect(skipped).to.have.lengthOf(1);
    expect(skipped[0]).to.include({ implementation: "sluice", transport: "shm" });
    expect(skipped[0].reason).to.contain("@sluice/native");
  });

  it("keeps what was measured where the rest fails", async () => {
    const skipped: Skipped[] = [];
    const subjects = [
      ["sluice", "shm", 0],
      ["sluice", "unix", 7],
    ] as const;
    const measure = async ([, , figure]: (typeof subjects)[number]) => {
      if (figure === 0) throw new Error("no figure", { cause: new Error("no addon") });
      return figure;
    };
    expect(await measureEach(subjects, measure, skipped)).to.deep.equal([7]);
    // Whatever is measured next fails for the same reason, which is told once.
    expect(await measureEach(subjects, measure, skipped)).to.deep.equal([7]);
    expect(skipped).to.deep.equal([
      { implementation: "sluice", transport: "shm", reason: "no figure: no addon" },
    ]);
  });

  it("weighs packages with what they depend on", () => {
    const [core, node] = ["@sluice/core", "@sluice/node"].map((name) => installedSize(name)!);
    expect(node.packages).to.be.above(core.packages);
    expect(node.bytes).to.be.above(core.bytes);
    expect(installedSize("@sluice/carrier-pigeons")).to.equal(undefined);
  });
});
