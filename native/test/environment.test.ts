import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect } from "chai";
import {
  carriers,
  native,
  needsAddon,
  openDescriptors,
  Peer,
  program,
  runProgram,
  temporaryDirectory,
  turn,
} from "./support.js";

describe("environments", function () {
  needsAddon(this);

  describe("workers", () => {
    /** Starts a worker that opens everything and goes on writing; resolves when it is at it. */
    async function busyWorker(): Promise<Worker> {
      const worker = new Worker(program("busy-worker"), { argv: ["forever"] });
      const [message] = (await once(worker, "message")) as [unknown];
      expect(message).to.equal("busy");
      return worker;
    }

    it("many load, use and are terminated in the midst of it, and leave nothing open", async () => {
      // The first one opens what Node keeps.
      await (await busyWorker()).terminate();
      const before = openDescriptors();
      for (let round = 0; round < 10; round++) {
        const workers = await Promise.all(Array.from({ length: 5 }, () => busyWorker()));
        await Promise.all(workers.map((worker) => worker.terminate()));
      }
      expect(openDescriptors().size).to.equal(before.size);
    }).timeout(120_000);

    it("end by themselves, by process.exit and by an exception, and leave nothing open", async () => {
      await (await busyWorker()).terminate();
      const before = openDescriptors();
      for (const [how, expected] of Object.entries({
        return: { code: 0, errors: [] },
        exit: { code: 7, errors: [] },
        throw: { code: 1, errors: ["the end"] },
      })) {
        const worker = new Worker(program("busy-worker"), { argv: [how] });
        const errors: string[] = [];
        worker.on("error", (error) => errors.push(error.message));
        const code = await new Promise<number>((resolve) => worker.once("exit", resolve));
        expect({ code, errors }, how).to.deep.equal(expected);
      }
      expect(openDescriptors().size).to.equal(before.size);
    });

    it("are not killed by SIGPIPE", async () => {
      const { code, signal, stdout } = await runProgram("broken-pipes");
      expect({ code, signal, stdout }).to.deep.equal({
        code: 0,
        signal: null,
        stdout: "EPIPE EPIPE\nEPIPE EPIPE\n",
      });
    });
  });

  describe("the end of a process", () => {
    let directory: ReturnType<typeof temporaryDirectory>;
    beforeEach(() => {
      directory = temporaryDirectory();
    });
    afterEach(() => directory.remove());

    for (const [carrier, connect] of Object.entries(carriers)) {
      for (const how of ["return", "exit", "unref", "throw", "worker"]) {
        it(`sends what was written before (${how}, over ${carrier})`, async () => {
          const [ours, theirs] = connect();
          const peer = new Peer(...ours);
          const fds = [...new Set(theirs)];
          const ended = runProgram("last-words", [how, theirs[0] === theirs[1] ? "3,3" : "3,4"], { fds });
          for (const fd of fds) native.closeFd(fd);
          await peer.until(() => peer.events.includes("end") || peer.errors.length > 0);
          const { code, signal } = await ended;
          expect(peer.received.toString()).to.equal("last words");
          expect({ code, signal }).to.deep.equal({ code: { exit: 3, throw: 1 }[how] ?? 0, signal: null });
          peer.channel.close();
        });
      }

      it(`waits until unsent bytes are read, without a reference (over ${carrier})`, async () => {
        const [ours, theirs] = connect();
        const peer = new Peer(...ours, { start: false });
        const fds = [...new Set(theirs)];
        const ended = runProgram("last-words", ["much", theirs[0] === theirs[1] ? "3,3" : "3,4"], { fds });
        for (const fd of fds) native.closeFd(fd);
        // Time to end without waiting, were it wrong.
        await Promise.race([ended, setTimeout(500)]);
        let received = 0;
        peer.onData = (bytes) => (received += bytes.length);
        peer.channel.start();
        await peer.until(() => peer.events.includes("end") || peer.errors.length > 0);
        expect((await ended).stdout).to.equal(String(received));
        peer.channel.close();
      });
    }

    it("with open channels, listeners and attempts is orderly, and removes socket files", async () => {
      for (const how of ["exit", "return"]) {
        const path = join(directory.path, how);
        const { code, signal, stderr } = await runProgram("everything-open", [path, how]);
        expect({ code, signal, stderr }).to.deep.equal({
          code: how === "exit" ? 5 : 0,
          signal: null,
          stderr: "",
        });
        expect(existsSync(path)).to.be.false;
      }
    });

    it("is not put off by a channel without a reference", async () => {
      const [ours, theirs] = carriers["a socket"]();
      const peer = new Peer(...ours);
      const { code } = await runProgram("last-words", ["idle", "3,3"], { fds: [theirs[0]] });
      expect(code).to.equal(0);
      native.closeFd(theirs[0]);
      peer.channel.close();
    });
  });

  it("5,000 channels open at once all carry bytes, and close", async function () {
    const needed = 5000 + 200;
    const limit = execFileSync("/bin/sh", ["-c", "ulimit -Hn"]).toString().trim();
    if (limit !== "unlimited" && Number(limit) < needed) {
      console.log(`      skipped: needs ${needed} descriptors, the hard limit is ${limit}`);
      this.skip();
    }
    const { code, stdout, stderr } = await runProgram("many-channels", ["2500"], {
      shell: `ulimit -Sn ${needed}`,
    });
    expect(stderr).to.equal("");
    expect(stdout).to.equal("2500 pairs echoed; 0 descriptors left open\n");
    expect(code).to.equal(0);
  }).timeout(60_000);

  it("running out of descriptors is an error that says so", async () => {
    const { code, stdout } = await runProgram("many-channels", ["2500"], { shell: "ulimit -n 100" });
    expect(stdout).to.match(/^EMFILE: socketpair EMFILE: too many open files\n$/);
    expect(code).to.equal(1);
  });

  it("collects channels that were closed, and not those that are open", async () => {
    const { code, stdout, stderr } = await runProgram("collected", [], {
      env: { NODE_OPTIONS: "--expose-gc" },
    });
    expect(stderr).to.equal("");
    expect(JSON.parse(stdout)).to.deep.equal({ openAlive: true, closedAlive: 0 });
    expect(code).to.equal(0);
  });

  it("leaves nothing when everything was closed", async () => {
    await turn();
    const before = openDescriptors();
    for (const connect of Object.values(carriers)) {
      const [left, right] = connect();
      const peers = [new Peer(...left), new Peer(...right)];
      peers[0].write("x");
      await peers[1].untilReceived(1);
      for (const { channel } of peers) channel.close();
    }
    await turn();
    expect(openDescriptors()).to.deep.equal(before);
  });
});

describe("without the addon", function () {
  this.timeout(30_000);

  it("SLUICE_NATIVE=0 says that it is disabled", async () => {
    const { stdout, code } = await runProgram("available", [], { env: { SLUICE_NATIVE: "0" } });
    expect(JSON.parse(stdout)).to.deep.equal({ available: false, why: "disabled by SLUICE_NATIVE=0" });
    expect(code).to.equal(0);
  });

  it("a missing build names the platform and the remedy", async () => {
    const env = { "@SLUICE/NATIVE_PREBUILD": "/nonexistent", SLUICE_NATIVE: "1" };
    const { stdout, code } = await runProgram("available", [], { env });
    const { available, why } = JSON.parse(stdout) as { available: boolean; why: string };
    expect(available).to.be.false;
    expect(why).to.include(`no build for ${process.platform}-${process.arch}`).and.include("npm run build");
    expect(code).to.equal(0);
  });

  for (const [format, meta] of [
    ["ES modules", "import.meta"],
    ["CommonJS", "({})"], // what esbuild makes of import.meta
  ] as const) {
    it(`a bundle of ${format} loads without it, and the reason says to keep it out`, () => {
      const code = readFileSync(new URL(import.meta.resolve("@sluice/native")), "utf8");
      const directory = temporaryDirectory();
      try {
        const bundle = join(directory.path, "bundle.mjs");
        writeFileSync(bundle, `${code.replaceAll("import.meta", meta)}\nconsole.log(nativeUnavailable);\n`);
        const env = { ...process.env, SLUICE_NATIVE: "1" };
        const why = execFileSync(process.execPath, [bundle], { encoding: "utf8", env });
        expect(why).to.include("--external:@sluice/native").and.not.include("npm run build");
      } finally {
        directory.remove();
      }
    });
  }
});
