import { expect } from "chai";
import { RpcError, Status, type Connection } from "@sluice/core";
import type { TransportFixture } from "../fixture.js";
import { makeFrame } from "../frames.js";

/** The error that a promise rejects with; an `RpcError` of this status. */
async function refusal(promise: Promise<unknown>, status: Status): Promise<RpcError> {
  const outcome: unknown = await promise.then(
    () => new Error("it was not refused"),
    (error: unknown) => error,
  );
  if (!(outcome instanceof RpcError)) throw outcome;
  expect(outcome.codeName).to.equal(new RpcError(status, "").codeName);
  return outcome;
}

export function describeListening(fixture: TransportFixture): void {
  describe("connecting and listening", () => {
    const { subject } = fixture;
    const { transport } = subject;
    afterEach(() => fixture.end());

    it("names the peer by address", async () => {
      const site = await fixture.site();
      const [near, far] = await fixture.pairAt(site);
      expect(site.listener.address.startsWith(`${transport.scheme}:`)).to.equal(true);
      expect(far.connection.peer.address).to.equal(near.connection.peer.address);
      if (!subject.delegates) expect(near.connection.peer.address).to.equal(site.listener.address);
    });

    it("serves many connections at once, each with its own frames", async () => {
      const site = await fixture.site();
      const pairs = [];
      for (let i = 0; i < Math.min(50, subject.maxConnections ?? Infinity); i++) {
        const [near, far] = await fixture.pairAt(site);
        pairs.push([near.start(), far.start()] as const);
      }
      for (const [i, [near]] of pairs.entries()) near.send(makeFrame(i, 100 + i));
      for (const [i, [near, far]] of pairs.entries()) {
        await far.received(1);
        expect(far.frames).to.deep.equal([makeFrame(i, 100 + i)]);
        far.send(far.frames[0]!);
        await near.received(1);
        expect(near.frames).to.deep.equal(far.frames);
      }
    });

    it("refuses to connect where nobody listens", async () => {
      const address = await subject.address();
      // A port of 0 is no address to connect to: listen there once to learn one that is free afterwards.
      const listener = await fixture.listen(() => {}, address);
      await listener.close();
      const error = await refusal(fixture.connect(listener.address), Status.UNAVAILABLE);
      expect(error.message).to.contain(listener.address);
    });

    it("refuses a second listener, and the first goes on", async () => {
      const site = await fixture.site();
      const error = await refusal(
        transport.listen(site.listener.address, (connection) => connection.destroy(), fixture.options),
        Status.ALREADY_EXISTS,
      );
      expect(error.message).to.contain(site.listener.address);
      // Whether the first is alive may have been asked by connecting to it.
      const near = fixture.endpoint(await fixture.connect(site.listener.address)).start();
      near.send(makeFrame(7, 100));
      for (;;) {
        const far = fixture.endpoint(await site.next()).start();
        const first = await far.received(1).then(
          () => far.frames[0],
          () => undefined,
        );
        if (first === undefined) continue;
        expect(first).to.deep.equal(makeFrame(7, 100));
        break;
      }
    });

    it("refuses malformed addresses", async () => {
      for (const address of ["", "nonsense", `${transport.scheme}`, ...(subject.malformed ?? [])]) {
        await refusal(transport.connect(address, fixture.options), Status.INVALID_ARGUMENT);
        await refusal(
          transport.listen(address, (connection) => connection.destroy(), fixture.options),
          Status.INVALID_ARGUMENT,
        );
      }
    });

    it("leaves its connections alone when the listener closes, and can listen there again", async () => {
      const site = await fixture.site();
      const [near, far] = await fixture.pairAt(site);
      near.start();
      far.start();
      const { address } = site.listener;
      await Promise.all([site.listener.close(), site.listener.close()]);
      await refusal(fixture.connect(address), Status.UNAVAILABLE);
      near.send(makeFrame(0, 100));
      far.send(makeFrame(1, 100));
      await Promise.all([near.received(1), far.received(1)]);
      const again = await fixture.site(address);
      expect(again.listener.address).to.equal(address);
      await site.listener.close();
      const [lateNear, lateFar] = await fixture.pairAt(again);
      lateFar.start();
      lateNear.start().send(makeFrame(2, 100));
      await lateFar.received(1);
    });

    it("gives up connecting when the signal is aborted", async () => {
      const site = await fixture.site();
      const reason = new Error("changed my mind");
      const rejected = await fixture
        .connect(site.listener.address, { signal: AbortSignal.abort(reason) })
        .then(fail, (error: unknown) => error);
      expect(rejected).to.equal(reason);

      const controller = new AbortController();
      const connecting = fixture.connect(site.listener.address, { signal: controller.signal });
      controller.abort(reason);
      // It may have been connected already.
      const outcome: Connection | Error = await connecting.catch((error: unknown) => error as Error);
      if (outcome instanceof Error) expect(outcome).to.equal(reason);
      else outcome.destroy();
    });

    it("does not mind a signal that is aborted after the connection was made", async () => {
      const site = await fixture.site();
      const controller = new AbortController();
      const accepted = site.next();
      const near = fixture.endpoint(
        await fixture.connect(site.listener.address, { signal: controller.signal }),
      );
      const far = fixture.endpoint(await accepted).start();
      controller.abort();
      near.start().send(makeFrame(0, 100));
      await far.received(1);
    });

    it("refuses a signal that is none", async () => {
      const address = await subject.address();
      const options = { signal: "soon" as unknown as AbortSignal };
      const error = await refusal(fixture.connect(address, options), Status.INVALID_ARGUMENT);
      expect(error.message).to.contain("signal").and.to.contain('"soon"').and.to.contain("AbortSignal");
    });

    if (subject.polls) {
      it("refuses a time to poll that cannot be, and names the option", async () => {
        const site = await fixture.site();
        for (const [poll, shown] of [
          [50, "50"],
          [{ us: -1 }, "{ us: -1 }"],
          [{ us: 0.5 }, "{ us: 0.5 }"],
          [{ us: 1001 }, "{ us: 1001 }"],
          [{ us: "50" }, '{ us: "50" }'],
          [{}, "an object (Object)"],
          [null, "null"],
        ] as const) {
          const options = { ...fixture.options, poll };
          for (const refused of [
            transport.connect(site.listener.address, options),
            transport.listen(await subject.address(), (connection) => connection.destroy(), options),
          ]) {
            const error = await refusal(refused, Status.INVALID_ARGUMENT);
            expect(error.message).to.include("option poll must be { us: N } with an integer N from 0");
            expect(error.message.endsWith(`, not ${shown}`), error.message).to.equal(true);
          }
        }
      });
    }
  });
}

function fail(): never {
  throw new Error("it was not refused");
}
