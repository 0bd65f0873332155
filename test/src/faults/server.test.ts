/** The server dies or stands still, in every state, as its client sees it. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { connect, spawn, Status, type Channel, type RpcError } from "@sluice/node";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import type { Link } from "../carriers.js";
import { descriptors, isRunning } from "../processes.js";
import { enter, stateNames } from "../states.js";
import { failure, onEveryCarrier, reached, SOON } from "../suite.js";
import { deferred, until, within } from "../within.js";

const call = (channel: Channel, options = {}) => channel.client(TestServiceDefinition).emptyCall({}, options);

/** Begin a Hold and resolve when it runs. `ended` is the call itself. */
async function hold(channel: Channel): Promise<{ ended: Promise<unknown> }> {
  const running = deferred();
  const ended = channel.client(ProbeDefinition).hold({ key: "held" }, { onHeader: () => running.resolve() });
  ended.catch(() => {});
  await within(SOON, Promise.race([running.promise, ended]), "the running of the handler");
  return { ended };
}

onEveryCarrier(
  "faults of the server",
  (carrier) => {
    /** A server that stays healthy, and a channel to it. */
    let healthy: Link;
    let link: Link;
    let descriptorsBefore: number;

    before(async () => {
      healthy = await carrier.open();
    });
    beforeEach(async () => {
      descriptorsBefore = descriptors(process.pid);
      link = await carrier.open();
    });
    afterEach(async () => {
      await link.server!.destroy();
      await link.close();
      await within(SOON, call(healthy.channel), "a call to another server");
      const open = () => descriptors(process.pid);
      await until(
        SOON,
        () => open() <= descriptorsBefore,
        () => `${open()} descriptors, ${descriptorsBefore} before`,
      );
    });
    after(() => healthy.close());

    /** What is true of a channel whose server has died. */
    async function expectLost(channel: Channel): Promise<void> {
      await reached(channel, "idle", "connecting", "transient-failure", "shutdown");
      const error = await failure(call(channel), Status.UNAVAILABLE);
      expect(error.mayHaveRun).to.equal(false);
    }

    for (const name of stateNames) {
      it(`kill -9, ${name}`, async () => {
        const calls = await within(SOON, enter(name, link.channel), "the state");
        await link.server!.destroy();
        for (const error of await Promise.all(calls.map((one) => failure(one, Status.UNAVAILABLE)))) {
          expect(error.mayHaveRun).to.equal(true);
        }
        await expectLost(link.channel);
      });
    }

    it("kill -9, draining at the client", async () => {
      const { ended } = await hold(link.channel);
      const closed = link.channel.close();
      await link.server!.destroy();
      await failure(ended, Status.UNAVAILABLE);
      await within(SOON, closed, "the channel's close");
    });

    it("kill -9, draining at the server", async () => {
      const { ended } = await hold(link.channel);
      await within(
        SOON,
        link.channel.client(ProbeDefinition).drain({ timeoutMs: 0 }),
        "the beginning of the drain",
      );
      await link.server!.destroy();
      await failure(ended, Status.UNAVAILABLE);
    });

    it("kill -9 with 500 calls in flight ends every one", async () => {
      const calls = await Promise.all(Array.from({ length: 500 }, () => hold(link.channel)));
      await link.server!.destroy();
      await Promise.all(calls.map(({ ended }) => failure(ended, Status.UNAVAILABLE)));
    });

    for (const name of stateNames) {
      it(`SIGSTOP, ${name}: deadlines still fire, and all goes on afterwards`, async () => {
        const calls = await within(SOON, enter(name, link.channel), "the state");
        await link.server!.freeze();
        await failure(call(link.channel, { timeoutMs: 200 }), Status.DEADLINE_EXCEEDED);
        await within(SOON, call(healthy.channel), "a call to another server");
        link.server!.thaw();
        await within(SOON, call(link.channel), "a call after the pause");
        const ended = Promise.race(calls);
        const first = await Promise.race([
          ended,
          within(SOON, call(link.channel), "another").then(() => "alive"),
        ]);
        expect(first).to.equal("alive");
        await link.server!.destroy();
        await Promise.all(calls.map((one) => failure(one, Status.UNAVAILABLE)));
      });
    }

    it("SIGSTOP, draining at the client: the close ends when its time is over", async () => {
      const { ended } = await hold(link.channel);
      await link.server!.freeze();
      await within(SOON, link.channel.close({ timeoutMs: 100 }), "the channel's close");
      await failure(ended, Status.UNAVAILABLE);
    });

    it("SIGSTOP with keepalive: the calls end with UNAVAILABLE", async () => {
      const keepalive = { intervalMs: 100, timeoutMs: 500 };
      const guarded = await carrier.open({ client: { keepalive } });
      try {
        const { ended } = await hold(guarded.channel);
        await guarded.server!.freeze();
        const error = await failure(ended, Status.UNAVAILABLE);
        expect(error.mayHaveRun).to.equal(true);
      } finally {
        await guarded.server!.destroy();
        await guarded.close();
      }
    });
  },
  ({ crossing, like }) => crossing && like === undefined,
);

onEveryCarrier(
  "faults of the server while connecting",
  (carrier) => {
    let link: Link;
    beforeEach(async () => {
      link = await carrier.open();
      await link.server!.freeze();
    });
    afterEach(async () => {
      await link.server!.destroy();
      await link.close();
    });

    it("SIGSTOP: connect() gives up after the handshake's time, and says so", async () => {
      const error = await failure(
        connect(link.address!, { limits: { handshakeTimeoutMs: 300 } }),
        Status.UNAVAILABLE,
      );
      // As far as the connecting got: a ring is set up by the server's process, a socket by its kernel.
      expect(error.message)
        .to.match(/HELLO|no connection/)
        .and.to.contain("300 ms");
    });

    it("SIGSTOP: connect() ends when its signal is aborted", async () => {
      const abort = new AbortController();
      const connecting = connect(link.address!, { signal: abort.signal });
      abort.abort();
      await failure(connecting, Status.CANCELLED);
    });

    it("SIGSTOP and SIGCONT: connect() succeeds", async () => {
      const connecting = link.connect();
      link.server!.thaw();
      await within(SOON, call(await connecting), "a call");
    });

    it("kill -9: connect() fails", async () => {
      const connecting = connect(link.address!);
      const failed = failure(connecting, Status.UNAVAILABLE);
      await link.server!.destroy();
      await failed;
    });
  },
  ({ crossing, shared, like }) => crossing && shared && like === undefined,
);

onEveryCarrier(
  "faults of the child while it starts",
  (carrier) => {
    const over = carrier.name as "pipe:" | "stdio:";
    let directory: string;
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "sluice-"));
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    /** Spawn a program that gets as far as `script`, and what comes of it. Nothing of the child may be left. */
    async function attempt(script: string, options = {}): Promise<RpcError> {
      const pidFile = join(directory, "pid");
      const write = `require("node:fs").writeFileSync(${JSON.stringify(pidFile)}, String(process.pid));`;
      const spawned = spawn(process.execPath, ["-e", write + script], { over, stdio: "ignore", ...options });
      const error = await failure(spawned, Status.UNAVAILABLE);
      const pid = Number(readFileSync(pidFile, "utf8"));
      await until(
        SOON,
        () => !isRunning(pid),
        () => `the end of the child, ${pid}`,
      );
      return error;
    }

    it("it exits before it says a word", async () => {
      expect((await attempt("process.exit(3)")).message).to.match(/exit.*3/);
    });

    it("it is killed before it says a word", async () => {
      expect((await attempt("process.kill(process.pid, 'SIGKILL')")).message).to.contain("SIGKILL");
    });

    it("it stands still and says no word", async () => {
      const limits = { handshakeTimeoutMs: 1000 };
      const error = await attempt("process.kill(process.pid, 'SIGSTOP')", { limits });
      expect(error.message).to.contain("HELLO");
    });

    if (over === "stdio:") {
      it("it speaks another language", async () => {
        const error = await attempt("console.log('Usage: program [options]'); setInterval(() => {}, 1000)");
        expect(error.message).to.contain("does not speak Sluice").and.to.contain("printed");
      });

      for (const [what, said] of [
        ["Usage: program [options]", "does not speak Sluice"],
        ["ready", "inside a frame"],
      ] as const) {
        it(`it prints ${JSON.stringify(what)} and exits`, async () => {
          const { message } = await attempt(`console.log(${JSON.stringify(what)}); process.exitCode = 3`);
          expect(message)
            .to.contain(said)
            .and.to.contain("printed to its standard output before it listened");
          expect(message).to.contain("exited with code 3").and.not.to.contain("3 before it listened");
        });
      }
    }

    it("there is no such program", async () => {
      const missing = join(directory, "missing");
      const error = await failure(spawn(missing, [], { over }), Status.NOT_FOUND);
      expect(error.message).to.contain(missing);
      expect(existsSync(missing)).to.equal(false);
    });
  },
  ({ shared }) => !shared,
);
