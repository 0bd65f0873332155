import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { createInterface, type Interface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import type { Endpoint } from "../endpoint.js";
import type { TransportFixture } from "../fixture.js";
import { makeFrame } from "../frames.js";
import type { Mode } from "../program.js";
import type { Subject } from "../subject.js";
import { edgeSizes, expectFrames, framesOf } from "./sending.js";

/** A process that runs `program.ts`: the other end of a connection. */
class Program {
  readonly process: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  constructor(subject: Subject, module: NonNullable<Subject["module"]>, mode: Mode, address: string) {
    const path = fileURLToPath(new URL("../program.js", import.meta.url));
    const options = JSON.stringify(subject.options ?? {});
    this.process = spawn(
      process.execPath,
      [path, String(module.url), module.export, mode, address, options],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    this.exited = once(this.process, "exit").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
    this.#reader = createInterface(this.process.stdout!);
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /** What the program says next: a listener's address. */
  async line(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done) throw new Error(`the program ended early: ${JSON.stringify(await this.exited)}`);
    return next.value;
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.exited;
    this.#reader.close();
  }
}

export function describeProcesses(fixture: TransportFixture, module: NonNullable<Subject["module"]>): void {
  describe("between processes", () => {
    const { subject } = fixture;
    let programs: Program[] = [];

    function noticesDeath({ connection }: Endpoint): boolean {
      return connection.traits.peerDeath === "carrier" || subject.noticesDeath === true;
    }

    function run(mode: Mode, address: string): Program {
      const program = new Program(subject, module, mode, address);
      programs.push(program);
      return program;
    }

    afterEach(async () => {
      await Promise.all(programs.map((program) => program.kill()));
      programs = [];
      await fixture.end();
    });

    it("carries frames of every size to another process and back", async () => {
      const program = run("listen-echo", await subject.address());
      const near = fixture.endpoint(await fixture.connect(await program.line())).start();
      const sizes = edgeSizes(near.connection.traits.maxFrameBytes);
      expectFrames(near, sizes);
      await Promise.all([near.sendAll(framesOf(sizes)), near.received(sizes.length)]);
    });

    it("carries frames of every size from another process and back", async () => {
      const site = await fixture.site();
      run("connect-echo", site.listener.address);
      const far = fixture.endpoint(await site.next()).start();
      const sizes = edgeSizes(far.connection.traits.maxFrameBytes);
      expectFrames(far, sizes);
      await Promise.all([far.sendAll(framesOf(sizes)), far.received(sizes.length)]);
    });

    it("lets timers and other events in while another process answers every frame", async () => {
      const program = run("listen-echo", await subject.address());
      const near = fixture.endpoint(await fixture.connect(await program.line())).start();
      let sending = true;
      near.consume = () => void (sending && near.send(makeFrame(0, 64)));
      near.send(makeFrame(0, 64));
      await near.received(1000);
      for (let i = 0; i < 10; i++) {
        const { frameCount } = near;
        await new Promise((resolve) => setTimeout(resolve, 1));
        await setImmediate();
        // By a thread of the pool.
        await stat(tmpdir());
        await near.received(frameCount + 1);
      }
      sending = false;
    });

    if (subject.polls) {
      it("does not sleep while answers come soon, if it may poll for as long", async () => {
        const program = run("listen-echo", await subject.address());
        const poll = { us: 1000 };
        const near = fixture.endpoint(await fixture.connect(await program.line(), { poll })).start();
        /** For how many milliseconds the event loop waits during thirty exchanges, with a pause before each. */
        const asleep = async (pauseMs: number): Promise<number> => {
          let idle = 0;
          for (let i = 0; i < 30; i++) {
            if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
            const before = performance.eventLoopUtilization();
            const { frameCount } = near;
            near.send(makeFrame(0, 64));
            await near.received(frameCount + 1);
            idle += performance.eventLoopUtilization(before).idle;
          }
          return idle;
        };
        // On a machine that is busy an answer may take longer now and then.
        for (const pauseMs of [0, 3]) {
          let tries = 0;
          while ((await asleep(pauseMs)) > 0) expect(++tries, "times in which it slept").to.be.below(100);
        }
      });

      it("carries frames whether it polls or not", async () => {
        const site = await fixture.site();
        for (const us of [0, 1, 1000]) {
          const accepted = site.next();
          const near = fixture
            .endpoint(await fixture.connect(site.listener.address, { poll: { us } }))
            .start();
          const far = fixture.endpoint(await accepted).start();
          for (let i = 0; i < 50; i++) {
            near.send(makeFrame(i, 100));
            await far.received(i + 1);
            far.send(far.frames[i]!);
            await near.received(i + 1);
          }
          expect(near.frames).to.deep.equal(far.frames);
        }
      });
    }

    it("keeps the process alive while the connection lives, and not longer", async () => {
      const site = await fixture.site();
      const program = run("connect-echo", site.listener.address);
      const far = fixture.endpoint(await site.next()).start();
      for (let i = 0; i < 20; i++) {
        far.send(makeFrame(i, 100));
        await far.received(i + 1);
      }
      far.close();
      await far.closed;
      expect(await program.exited).to.deep.equal({ code: 0, signal: null });
    });

    it("does not keep the process alive after unref", async () => {
      const site = await fixture.site();
      const program = run("connect-unref", site.listener.address);
      const far = fixture.endpoint(await site.next()).start();
      expect(await program.exited).to.deep.equal({ code: 0, signal: null });
      await far.closed;
    });

    it("does not keep the process alive by a listener after unref", async () => {
      const program = run("listen-unref", await subject.address());
      await program.line();
      expect(await program.exited).to.deep.equal({ code: 0, signal: null });
    });

    for (const mode of ["connect-echo", "connect-flood"] as const) {
      it(`learns of the death of a connected process (${mode})`, async function () {
        const site = await fixture.site();
        const program = run(mode, site.listener.address);
        const far = fixture.endpoint(await site.next()).start();
        if (!noticesDeath(far)) this.skip();
        far.consume = () => {};
        far.send(makeFrame(0, 100));
        await far.received(1);
        await program.kill();
        await far.closed;
      });
    }

    it("learns of the death of a listening process while sending to it", async function () {
      const program = run("listen-sink", await subject.address());
      const near = fixture.endpoint(await fixture.connect(await program.line())).start();
      if (!noticesDeath(near)) this.skip();
      let ended = false;
      const flood = async (): Promise<void> => {
        // In turns: while the peer takes everything, there may always be room.
        for (let i = 0; !ended; i++) {
          await near.sendAll(Array.from({ length: 50 }, () => makeFrame(i, 2000)));
          await setImmediate();
        }
      };
      const flooding = flood().catch(() => "ended");
      void near.closed.then(() => (ended = true));
      await near.received(1);
      await program.kill();
      await Promise.all([near.closed, flooding]);
    });

    it("listens where a killed process listened", async function () {
      if (subject.outlivesServers === false) this.skip();
      const program = run("listen-echo", await subject.address());
      const address = await program.line();
      const orphan = fixture.endpoint(await fixture.connect(address)).start();
      await program.kill();
      await orphan.closed;
      const site = await fixture.site(address);
      const [near, far] = await fixture.pairAt(site);
      far.start();
      near.start().send(makeFrame(0, 100));
      await far.received(1);
    });
  });
}
