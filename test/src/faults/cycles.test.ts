/** Crash and reconnect (or start again, where a server is its client's child), again and again, with nothing growing. */
import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import { Status, type Channel } from "@sluice/node";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { descriptors, residentBytes } from "../processes.js";
import { failure, onEveryCarrier, SOON } from "../suite.js";
import { deferred, until, within } from "../within.js";

/**
 * Memory that may have gone to caches by the end: resident, which the allocators give back late, and in use, which is
 * exact. Both are far below what the buffers of the lost connections would take.
 */
const GROWTH = { resident: 32 << 20, used: 4 << 20 };

/** Buffers that one collection finds are freed beside the program: it takes another to know that they have been. */
async function memory(): Promise<{ resident: number; used: number }> {
  for (let count = 0; count < 2; count++) {
    globalThis.gc!();
    await setImmediate();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return { resident: residentBytes(process.pid), used: heapUsed + arrayBuffers };
}

/** A call in flight, whose end is to come. */
async function begin(channel: Channel): Promise<{ ended: Promise<unknown> }> {
  const running = deferred();
  const ended = channel.client(ProbeDefinition).hold({ key: "held" }, { onHeader: () => running.resolve() });
  ended.catch(() => {});
  await within(SOON, Promise.race([running.promise, ended]), "a call in flight");
  return { ended };
}

/** How many do their cycles at the same time. */
const LANES = 4;

/** How many channels each has to its server: starting one is most of what takes time here. */
const CHANNELS = 5;

/**
 * Run `cycle` of each lane `cycles` times, and fail if this process holds more after the last than after the first quarter.
 */
async function repeat(cycles: number, lanes: readonly ((i: number) => Promise<void>)[]): Promise<void> {
  const first = Math.ceil(cycles / 4);
  const run = (from: number, to: number): Promise<unknown> =>
    Promise.all(
      lanes.map(async (cycle) => {
        for (let i = from; i <= to; i++) await cycle(i);
      }),
    );
  await run(1, first);
  const warm = { descriptors: descriptors(process.pid), memory: await memory() };
  await run(first + 1, cycles);
  await until(
    SOON,
    () => descriptors(process.pid) <= warm.descriptors,
    () => `${descriptors(process.pid)} descriptors, after the first cycles ${warm.descriptors}`,
  );
  const { resident, used } = await memory();
  expect(used - warm.memory.used, "growth of memory in use, in bytes").to.be.below(GROWTH.used);
  expect(resident - warm.memory.resident, "growth of resident memory, in bytes").to.be.below(GROWTH.resident);
}

onEveryCarrier(
  "crash and reconnection",
  (carrier) => {
    // What grows by little shows where Sluice's own code holds most.
    const losses = ["unix:", "shm:"].includes(carrier.name) ? 200 : 80;
    it(`${losses} times, without growth`, async function () {
      this.timeout(120_000);
      const options = { waitForReady: true, backoff: { initialMs: 5, maxMs: 20 } };
      const links = await Promise.all(Array.from({ length: LANES }, () => carrier.open({ client: options })));
      const lanes = links.map(async (link) => {
        const others = Array.from({ length: CHANNELS - 1 }, () => link.connect(options));
        const channels = [link.channel, ...(await Promise.all(others))];
        return async (i: number) => {
          const calls = await Promise.all(channels.map(begin));
          await link.server!.destroy();
          const ends = calls.map(({ ended }) => failure(ended, Status.UNAVAILABLE, `a call of cycle ${i}`));
          await Promise.all(ends);
          const waiting = channels.map((channel) => channel.client(TestServiceDefinition).emptyCall({}));
          await link.start();
          await within(SOON, Promise.all(waiting), `reconnection ${i}`);
        };
      });
      try {
        await repeat(losses / CHANNELS / LANES, await Promise.all(lanes));
      } finally {
        await Promise.all(links.map((link) => link.close()));
      }
    });
  },
  ({ crossing, shared, like }) => crossing && shared && like === undefined,
);

onEveryCarrier(
  "crash and another child",
  (carrier) => {
    it("20 times, without growth", async function () {
      this.timeout(60_000);
      const cycle = async (i: number) => {
        const link = await carrier.open();
        const { ended } = await begin(link.channel);
        await link.server!.destroy();
        await failure(ended, Status.UNAVAILABLE, `the call of cycle ${i}`);
        await link.close();
      };
      await repeat(20 / LANES, Array<typeof cycle>(LANES).fill(cycle));
    });
  },
  ({ shared }) => !shared,
);
