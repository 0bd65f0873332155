import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { expect } from "chai";
import { Status, type TransportOptions } from "@sluice/core";
import { echo } from "@sluice/transport-contract";
import { EchoSite, outward } from "./echo-site.js";
import { refusal } from "./refusal.js";
import { describeVariants } from "./variants.js";

const SECRET = "5e".repeat(32);
const OTHER = "e5".repeat(32);

describeVariants("udp", ({ name, transports: { udp } }) => {
  let site: EchoSite;
  beforeEach(() => {
    site = new EchoSite(udp);
  });
  afterEach(() => site.close());

  const listen = (address = "udp://127.0.0.1:0", options?: TransportOptions) => site.listen(address, options);

  it("fills in the port that the kernel chose, and knows the peer's address", async () => {
    const address = await listen();
    expect(address).to.match(/^udp:\/\/127\.0\.0\.1:[1-9]\d*$/);
    expect(await listen("udp://[::1]:0")).to.match(/^udp:\/\/\[::1\]:[1-9]\d*$/);
    const near = await site.connect(address);
    expect(near.connection.peer).to.deep.equal({
      address,
      remoteAddress: "127.0.0.1",
      remotePort: Number(address.split(":")[2]),
    });
  });

  it("tells of the death of peers by itself", async () => {
    const near = await site.connect(await listen());
    expect(near.connection.traits.peerDeath).to.equal("carrier");
    expect(near.connection.traits.reconnectable).to.equal(true);
  });

  it("takes a secret as bytes or as digits, and no other", async () => {
    const address = await listen(undefined, { secret: SECRET });
    await site.connect(address, { secret: SECRET.toUpperCase() });
    await site.connect(address, { secret: new Uint8Array(32).fill(0x5e) });
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
    await site.connect(closed, { secret: SECRET });
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
    await site.connect(secretive, { secret: SECRET });
    const insecure = await listen(`udp://${outward}:0`, { insecure: true });
    await site.connect(insecure, { insecure: true });
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
    await site.listeners[0]!.close();
    const error = await refusal(udp.connect(address, {}), Status.UNAVAILABLE);
    expect(error.message).to.contain(address).and.to.contain("nobody listens there");
  });

  it("refuses to connect to port 0", async () => {
    const error = await refusal(udp.connect("udp://127.0.0.1:0", {}), Status.INVALID_ARGUMENT);
    expect(error.message).to.contain("port 0");
  });

  if (name === "native") {
    describe("on an interface with an MTU of its own", () => {
      const program = fileURLToPath(new URL("./udp-mtu-program.js", import.meta.url));

      before(function () {
        const { status } = spawnSync("unshare", ["--net", "ip", "link", "set", "lo", "mtu", "1500", "up"]);
        // It needs root, and both commands.
        if (status !== 0) this.skip();
      });

      /** What was sent with each MTU. */
      const run = async (...args: string[]): Promise<{ longest: number; fragmented: number }[]> => {
        const child = spawn("unshare", ["--net", process.execPath, program, ...args], {
          stdio: ["ignore", "pipe", "inherit"],
          timeout: 25_000,
        });
        let output = "";
        child.stdout.on("data", (text) => (output += String(text)));
        await once(child, "close");
        const { results, violations } = JSON.parse(output) as { results: never[]; violations: unknown[] };
        expect(violations).to.deep.equal([]);
        return results;
      };

      for (const [host, headers] of [
        ["127.0.0.1", 28],
        ["[::1]", 48],
      ] as const) {
        it(`sends the longest packets that it takes, and no fragments: ${host}`, async () => {
          const [ethernet, less, still] = await run(host, "1500", "1420", "1300");
          expect(ethernet).to.deep.equal({ longest: 1500 - headers, fragmented: 0 });
          expect(less).to.deep.equal({ longest: 1420 - headers, fragmented: 0 });
          expect(still).to.deep.equal({ longest: 1300 - headers, fragmented: 0 });
        });
      }

      it("sends packets of 1,200 bytes, in fragments, where it takes even less", async () => {
        const [result] = await run("127.0.0.1", "1000");
        expect(result!.longest).to.equal(1200);
        expect(result!.fragmented).to.be.above(1000);
      });
    });

    describe("with a process or a thread of its own", () => {
      const program = fileURLToPath(new URL("./udp-program.js", import.meta.url));
      let running: ChildProcess | Worker;

      const runProcess = (...args: string[]) =>
        spawn(process.execPath, [program, ...args], { stdio: ["pipe", "pipe", "ignore"] });
      const runThread = (...argv: string[]) => new Worker(program, { argv, stdin: true, stdout: true });

      afterEach(async () => {
        if (running instanceof Worker) await running.terminate();
        else running.kill("SIGKILL");
      });

      it("gives up a peer that stands still, once it was silent for idleTimeoutMs", async () => {
        const server = runProcess("listen", "udp://127.0.0.1:0");
        running = server;
        const [address] = (await once(server.stdout, "data")) as [Buffer];
        const near = await site.connect(String(address).trim(), { idleTimeoutMs: 1000 });
        server.kill("SIGSTOP");
        const silence = /has been silent for (\d+) ms/.exec(String(await near.closed));
        expect(Number(silence?.[1])).to.be.at.least(1000);
      });

      for (const [what, run, how] of [
        ["process.exit", runProcess, "exit"],
        ["an error that nobody catches", runProcess, "throw"],
        ["process.exit in a worker", runThread, "exit"],
      ] as const) {
        it(`a server tells its clients of its end: ${what}`, async () => {
          running = run("listen", "udp://127.0.0.1:0");
          const [address] = (await once(running.stdout!, "data")) as [Buffer];
          const near = await site.connect(String(address).trim());
          running.stdin!.write(how);
          expect(String(await near.closed)).to.contain("gave it up");
        });

        it(`a client tells its server of its end: ${what}`, async () => {
          running = run("connect", await listen());
          await once(running.stdout!, "data");
          running.stdin!.write(how);
          expect(String(await site.endpoints[0]!.closed)).to.contain("gave it up");
        });
      }
    });
  }
});
