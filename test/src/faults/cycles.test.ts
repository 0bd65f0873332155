/** Crash and reconnect, again and again, with nothing growing. */
import { expect } from "chai";
import { Status, type Channel } from "@sluice/node";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { descriptors, residentBytes } from "../processes.js";
import { failure, onEveryCarrier, SOON } from "../suite.js";
import { deferred, within } from "../within.js";

const CYCLES = 200;
/** By when every cache is warm. */
const WARM = 50;
/** Far below what 150 connections of 64 KiB each would take. */
const GROWTH = 8 << 20;

function measure() {
  globalThis.gc!();
  return { descriptors: descriptors(process.pid), residentBytes: residentBytes(process.pid) };
}

onEveryCarrier(
  "crash and reconnection",
  (carrier) => {
    it(`${CYCLES} times, without growth`, async function () {
      this.timeout(200_000);
      const link = await carrier.open({
        client: { waitForReady: true, backoff: { initialMs: 5, maxMs: 20 } },
      });
      const running = async (channel: Channel) => {
        const holding = deferred();
        const ended = channel
          .client(ProbeDefinition)
          .hold({ key: "held" }, { onHeader: () => holding.resolve() });
        ended.catch(() => {});
        await within(SOON, holding.promise, "a call in flight");
        return { ended };
      };
      let warm = measure();
      for (let cycle = 1; cycle <= CYCLES; cycle++) {
        const { ended } = await running(link.channel);
        await link.server!.destroy();
        await failure(ended, Status.UNAVAILABLE, `the call of cycle ${cycle}`);
        const waiting = link.channel.client(TestServiceDefinition).emptyCall({});
        await link.start();
        await within(SOON, waiting, `reconnection ${cycle}`);
        if (cycle === WARM) warm = measure();
      }
      const end = measure();
      expect(end.descriptors).to.be.at.most(warm.descriptors);
      expect(end.residentBytes - warm.residentBytes).to.be.below(GROWTH);
      await link.close();
    });
  },
  ({ crossing, shared }) => crossing && shared,
);
