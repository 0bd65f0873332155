/** A client dies or stands still, in every state, as its server and the server's other clients see it. */
import { expect } from "chai";
import { type Channel, type Client } from "@sluice/node";
import { carriers, type Link } from "../carriers.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { Child, descriptors, isRunning } from "../processes.js";
import { stateNames } from "../states.js";
import { onEveryCarrier, SOON } from "../suite.js";
import { until, within } from "../within.js";

const BODIES_AHEAD_BYTES = 64 << 20;

/** Start a client process with `count` channels in a state, and return when it is in it. */
async function startClient(address: string, state: string, count = 1) {
  const client = Child.run("client", [address, state, String(count)], { stdin: "pipe" });
  const [word, ...pids] = (await client.line()).split(" ");
  expect(word).to.equal("ready");
  return { client, servers: pids.map(Number) };
}

onEveryCarrier(
  "faults of a client",
  (carrier) => {
    let link: Link;
    let probe: Client<typeof ProbeDefinition>;
    before(async () => {
      link = await carrier.open();
      probe = link.channel.client(ProbeDefinition);
    });
    after(() => link.close());

    const report = () => within(SOON, probe.report({}), "a report");
    const settle = () => within(SOON, probe.settle({}), "the end of every handler");
    const callBeside = (channel: Channel) =>
      within(SOON, channel.client(TestServiceDefinition).emptyCall({}), "a call of another client");

    /** The server holds what it held before, once the kernel has told it of the client's end. */
    async function expectNothingLeft(before: { readonly descriptors: number }): Promise<void> {
      await settle();
      const pid = link.server!.pid;
      await until(
        SOON,
        () => descriptors(pid) <= before.descriptors,
        () => `${descriptors(pid)} descriptors in the server, ${before.descriptors} before`,
      );
      await callBeside(link.channel);
    }

    for (const name of stateNames) {
      it(`kill -9, ${name}`, async () => {
        const before = await report();
        const { client } = await startClient(link.address!, name, 5);
        await callBeside(link.channel);
        await client.destroy();
        await expectNothingLeft(before);
      });

      it(`SIGSTOP, ${name}: others are served, and memory stays bounded`, async () => {
        const before = await report();
        const { client } = await startClient(link.address!, name, 2);
        await client.freeze();
        for (let i = 0; i < 200; i++) await callBeside(link.channel);
        const during = await report();
        expect(Number(during.residentBytes - before.residentBytes)).to.be.below(BODIES_AHEAD_BYTES);
        await client.destroy();
        await expectNothingLeft(before);
      });
    }

    it("kill -9, draining at the server: the drain is over", async () => {
      const own = await carrier.open();
      const { client } = await startClient(own.address!, "a unary call in flight");
      await within(
        SOON,
        own.channel.client(ProbeDefinition).drain({ timeoutMs: 0 }),
        "the beginning of the drain",
      );
      await own.channel.close();
      expect(isRunning(own.server!.pid)).to.equal(true);
      await client.destroy();
      const exit = await within(SOON, own.server!.exited, "the end of the server");
      expect(exit).to.deep.equal({ code: 0, signal: null });
      await own.close();
    });

    it("SIGSTOP, draining at the server: the drain ends when its time is over", async () => {
      const own = await carrier.open();
      const { client } = await startClient(own.address!, "a unary call in flight");
      await client.freeze();
      await within(
        SOON,
        own.channel.client(ProbeDefinition).drain({ timeoutMs: 100 }),
        "the beginning of the drain",
      );
      const exit = await within(SOON, own.server!.exited, "the end of the server");
      expect(exit).to.deep.equal({ code: 0, signal: null });
      await client.destroy();
      await own.close();
    });

    it("SIGSTOP with keepalive at the server: it lets go of the client", async () => {
      const own = await carrier.open({ server: { keepalive: { intervalMs: 100, timeoutMs: 500 } } });
      const { client } = await startClient(own.address!, "a unary call in flight", 3);
      await client.freeze();
      await within(SOON, own.channel.client(ProbeDefinition).settle({}), "the end of the handlers");
      await client.destroy();
      await own.close();
    });

    it("50 clients that crash with calls in flight leave nothing", async function () {
      this.timeout(60_000);
      const before = await report();
      for (let i = 0; i < 5; i++) {
        const { client } = await startClient(link.address!, "streaming both ways", 10);
        await client.destroy();
      }
      await expectNothingLeft(before);
    });
  },
  ({ crossing, shared, like }) => crossing && shared && like === undefined,
);

describe("faults of a parent", () => {
  for (const { name } of carriers.filter(({ crossing, shared }) => crossing && !shared)) {
    for (const state of stateNames) {
      it(`kill -9, ${state}: its children by ${name} end`, async () => {
        const { client, servers } = await startClient(name, state, 2);
        expect(servers.map(isRunning)).to.deep.equal([true, true]);
        await client.destroy();
        await until(
          SOON,
          () => !servers.some(isRunning),
          () => `the end of ${servers.filter(isRunning).join(", ")}`,
        );
      });
    }
  }
});
