import { execFile, spawnSync } from "node:child_process";
import { promisify } from "node:util";
import { expect } from "chai";

/** What `bench/limits.mjs` exports; it is not compiled, since it is also run by hand. */
interface Limits {
  buildLimits: () => string;
  limitTransports: string[];
}

const { buildLimits, limitTransports } = (await import(
  new URL("../../bench/limits.mjs", import.meta.url).href
)) as Limits;

describe("The C++ limits of the bench", function () {
  this.timeout(60_000);
  let program: string;

  before(function () {
    if (spawnSync(process.env["CXX"] ?? "g++", ["--version"]).status !== 0) {
      console.log("    skipped: no C++ compiler");
      return this.skip();
    }
    program = buildLimits();
  });

  const limits = async (...args: string[]) =>
    (await promisify(execFile)(program, args, { timeout: 30_000 })).stdout;

  for (const transport of limitTransports) {
    // The second window is more than the pipes and the ring hold, where messages go in fragments. The kernel may hold no
    // more than one such datagram.
    for (const [bytes, inFlight] of [
      [64, 8],
      [60_000, transport === "udp" ? 1 : 5],
    ] as const) {
      it(`measures ${transport}: ${bytes} bytes, ${inFlight} in flight`, async () => {
        const line = await limits(
          ...["--transport", transport, "--bytes", `${bytes}`, "--in-flight", `${inFlight}`],
          ...["--seconds", "0.05", "--capacity", "16384"],
        );
        const row = JSON.parse(line) as Record<string, unknown>;
        expect(row).to.include({ implementation: "c++", transport, kind: "echo", bytes, inFlight });
        expect(row["callsPerSecond"]).to.be.above(0);
        expect(row["p50Us"]).to.be.above(0);
        expect(row["p99Us"]).to.be.at.least(row["p50Us"] as number);
        expect(row["capacity"]).to.equal(transport.startsWith("ring") ? 16384 : undefined);
      });
    }
  }

  it("says what is wrong with its arguments", async () => {
    const refusal = (...args: string[]) =>
      limits(...args).then(
        () => "",
        (error: { stderr: string }) => error.stderr,
      );
    expect(await refusal()).to.match(/^limits: usage:/);
    expect(await refusal("--transport", "telex")).to.match(/there is no transport "telex"\nusage:/);
    expect(await refusal("--transport", "unix", "--bytes", "none")).to.match(
      /--bytes must be a number from 1 to 1073741824, not "none"/,
    );
    expect(await refusal("--transport", "udp", "--bytes", "65508")).to.match(/at most 65507 bytes/);
    expect(await refusal("--transport", "ring-polled", "--capacity", "5000")).to.match(/a power of two/);
  });
});
