/** Crash and reconnect (or start again, where a server is its client's child), again and again, with nothing growing. */
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

function memory(): { resident: number; used: number } {
  globalThis.gc!();
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

/** Run `cycle` that many times, and fail if this process holds more after the last than after the first quarter. */
async function repeat(cycles: number, cycle: (i: number) => Promise<void>): Promise<void> {
  let warm = { descriptors: 0, memory: { resident: 0, used: 0 } };
  for (let i = 1; i <= cycles; i++) {
    await cycle(i);
    if (i !== Math.ceil(cycles / 4)) continue;
    warm = { descriptors: descriptors(process.pid), memory: memory() };
  }
  await until(
    SOON,
    () => descriptors(process.pid) <= warm.descriptors,
    () => `${descriptors(process.pid)} descriptors, after the first cycles ${warm.descriptors}`,
  );
  const { resident, used } = memory();
  expect(used - warm.memory.used, "growth of memory in use, in bytes").to.be.below(GROWTH.used);
  expect(resident - warm.memory.resident, "growth of resident memory, in bytes").to.be.below(GROWTH.resident);
}

onEveryCarrier(
  "crash and reconnection",
  (carrier) => {
    const cycles = carrier.like === undefined ? 200 : 20;
    it(`${cycles} times, without growth`, async function () {
      this.timeout(280_000);
      const backoff = { initialMs: 5, maxMs: 20 };
      const link = await carrier.open({ client: { waitForReady: true, backoff } });
      try {
        await repeat(cycles, async (i) => {
          const { ended } = await begin(link.channel);
          await link.server!.destroy();
          await failure(ended, Status.UNAVAILABLE, `the call of cycle ${i}`);
          const waiting = link.channel.client(TestServiceDefinition).emptyCall({});
          await link.start();
          await within(SOON, waiting, `reconnection ${i}`);
        });
      } finally {
        await link.close();
      }
    });
  },
  ({ crossing, shared }) => crossing && shared,
);

onEveryCarrier(
  "crash and another child",
  (carrier) => {
    it("40 times, without growth", async function () {
      this.timeout(60_000);
      await repeat(40, async (i) => {
        const link = await carrier.open();
        const { ended } = await begin(link.channel);
        await link.server!.destroy();
        await failure(ended, Status.UNAVAILABLE, `the call of cycle ${i}`);
        await link.close();
      });
    });
  },
  ({ shared }) => !shared,
);
