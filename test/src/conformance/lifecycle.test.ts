/** The ends of things: graceful drain, closed channels, lost and regained servers. */
import { expect } from "chai";
import { connect, createServer, Status, type Channel, type ChannelState } from "@sluice/node";
import { StreamingOutputCallRequest } from "../gen/grpc/testing/messages.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition, type ReleaseRequest } from "../gen/sluice/testing/probe.js";
import type { Link } from "../carriers.js";
import { Outbox } from "../outbox.js";
import { addServices } from "../services.js";
import { failure, onEveryCarrier, reached, SOON } from "../suite.js";
import { deferred, within } from "../within.js";

/** A unary call, a bidirectional stream and a client stream, all in flight; only the latter two can be moved on. */
async function callsInFlight(channel: Channel) {
  const probe = channel.client(ProbeDefinition);
  const test = channel.client(TestServiceDefinition);
  const holding = deferred();
  const unary = probe.hold({ key: "in flight" }, { onHeader: () => holding.resolve() });
  const releasing = deferred();
  const releases = new Outbox<ReleaseRequest>();
  const released = probe.release(releases, { onHeader: () => releasing.resolve() });
  const requests = new Outbox<StreamingOutputCallRequest>();
  const responses = test.fullDuplexCall(requests)[Symbol.asyncIterator]();
  const calls = [unary, released];
  // Looked at later: not unhandled until then.
  for (const call of calls) call.catch(() => {});
  const exchange = async (size: number) => {
    requests.push(StreamingOutputCallRequest.fromPartial({ responseParameters: [{ size }] }));
    const { value } = await within(SOON, responses.next(), `a response of ${size} bytes`);
    expect(value.payload.body.length).to.equal(size);
  };
  await exchange(1);
  await within(SOON, Promise.all([holding.promise, releasing.promise]), "the running of the handlers");
  return {
    unary,
    responses,
    exchange,
    /** Bring every call to its good end. */
    async finish() {
      await exchange(2);
      releases.push({ key: "in flight" });
      expect((await within(SOON, unary, "the unary call")).deadline).to.equal(0);
      releases.end();
      await within(SOON, released, "the client stream");
      await exchange(3);
      requests.end();
      expect((await within(SOON, responses.next(), "the end of the stream")).done).to.equal(true);
    },
  };
}

onEveryCarrier("lifecycle", (carrier) => {
  let link: Link;
  beforeEach(async () => {
    link = await carrier.open();
  });
  afterEach(() => link.close());

  it("server.close() finishes the calls in flight and takes no new ones", async () => {
    const calls = await callsInFlight(link.channel);
    const probe = link.channel.client(ProbeDefinition);
    await within(SOON, probe.drain({ timeoutMs: 0 }), "the beginning of the drain");
    const refused = await failure(
      link.channel.client(TestServiceDefinition).emptyCall({}),
      Status.UNAVAILABLE,
    );
    expect(refused.mayHaveRun).to.equal(false);
    await calls.finish();
    // With the calls over, the server process has nothing left to live for.
    if (link.server !== undefined) {
      expect(await within(SOON, link.server.exited, "the end of the server")).to.deep.equal({
        code: 0,
        signal: null,
      });
    }
  });

  it("server.close() ends what is still in flight when its time is over", async () => {
    const calls = await callsInFlight(link.channel);
    const probe = link.channel.client(ProbeDefinition);
    await within(SOON, probe.drain({ timeoutMs: 100 }), "the beginning of the drain");
    expect((await failure(calls.unary, Status.UNAVAILABLE)).mayHaveRun).to.equal(true);
    await failure(calls.responses.next(), Status.UNAVAILABLE);
  });

  it("channel.close() finishes the calls in flight and makes no new ones", async () => {
    const calls = await callsInFlight(link.channel);
    const closed = link.channel.close();
    const late = link.channel.client(TestServiceDefinition).emptyCall({});
    expect((await failure(late, Status.FAILED_PRECONDITION)).message).to.contain("closed");
    await calls.finish();
    await within(SOON, closed, "the channel's close");
    expect(link.channel.state).to.equal("shutdown");
  });

  it("channel.close() ends what is still in flight when its time is over", async () => {
    const calls = await callsInFlight(link.channel);
    await within(SOON, link.channel.close({ timeoutMs: 100 }), "the channel's close");
    await failure(calls.unary, Status.UNAVAILABLE);
    await failure(calls.responses.next(), Status.UNAVAILABLE);
  });
});

onEveryCarrier(
  "reconnection",
  (carrier) => {
    const backoff = { initialMs: 10, maxMs: 100 };
    let link: Link;
    beforeEach(async () => {
      link = await carrier.open({ client: { backoff } });
    });
    afterEach(() => link.close());

    const call = (channel: Channel, options = {}) =>
      channel.client(TestServiceDefinition).emptyCall({}, options);

    it("a channel finds the server again after its restart, and its states tell", async () => {
      const states: ChannelState[] = [];
      const unsubscribe = link.channel.on("state", (state) => states.push(state));
      expect(link.channel.state).to.equal("ready");
      await link.stop();
      await reached(link.channel, "transient-failure", "connecting", "idle");
      const error = await failure(call(link.channel), Status.UNAVAILABLE);
      expect(error.mayHaveRun).to.equal(false);
      const waiting = call(link.channel, { waitForReady: true });
      await link.start();
      await within(SOON, waiting, "the call that waited");
      expect(link.channel.state).to.equal("ready");
      expect(states).to.include("connecting").and.to.include("transient-failure");
      expect(states.at(-1)).to.equal("ready");
      unsubscribe();
      await link.channel.close();
      expect(states.at(-1)).to.equal("ready");
    });

    it("a call that waits for a connection still has its deadline and its signal", async () => {
      await link.stop();
      const abort = new AbortController();
      const late = call(link.channel, { waitForReady: true, timeoutMs: 200 });
      const cancelled = call(link.channel, { waitForReady: true, signal: abort.signal });
      abort.abort();
      expect((await failure(cancelled, Status.CANCELLED)).mayHaveRun).to.equal(false);
      expect((await failure(late, Status.DEADLINE_EXCEEDED)).mayHaveRun).to.equal(false);
      await link.start();
    });

    it("connect() fails at once where nobody listens, and waits where it is told to", async () => {
      await link.stop();
      // From far away only silence says so.
      const limits = { handshakeTimeoutMs: 1000 };
      await failure(link.connect({ limits }), Status.UNAVAILABLE);
      const abort = new AbortController();
      const given = link.connect({ waitForReady: true, backoff, signal: abort.signal });
      abort.abort();
      await failure(given, Status.CANCELLED);
      const waiting = link.connect({ waitForReady: true, backoff });
      await link.start();
      await within(SOON, call(await within(SOON, waiting, "the channel")), "a call");
    });
  },
  ({ shared }) => shared,
);

describe("a server that calls its client as soon as it can", () => {
  it("finds what the option services has added", async () => {
    const server = createServer();
    const answered = new Promise<unknown>((resolve, reject) => {
      server.on("connection", (channel) => {
        channel.client(TestServiceDefinition).emptyCall({}).then(resolve, reject);
      });
    });
    const { address } = await server.listen("memory:calls-at-once");
    const channel = await connect(address, { services: (serving) => addServices(serving, () => {}) });
    await within(SOON, answered, "the client's answer");
    await channel.close();
    await server.close();
  });
});
