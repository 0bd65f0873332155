/** Back-pressure, fairness and size limits. What is bounded is counted in messages and bytes, never in time. */
import { expect } from "chai";
import { Status, type Client } from "@sluice/node";
import { LARGE, type Carrier } from "../carriers.js";
import { SimpleRequest } from "../gen/grpc/testing/messages.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import type { ExchangeRequest } from "../gen/sluice/testing/probe.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { Outbox } from "../outbox.js";
import { pattern, payload } from "../payload.js";
import { distinct, failure, onEveryCarrier, sharedLink, SOON, WINDOWS } from "../suite.js";
import { deferred, within } from "../within.js";

const BODY = 64 << 10;
/**
 * A stream's window of 256 KiB holds four bodies less their own overhead; beside them there may be one at the reader,
 * one in the hands of the writer and one being made.
 */
const AHEAD = 8;
/** What a process may grow by while a reader sleeps: windows and buffers, far below what 500 round trips let through. */
const GROWTH = 48 << 20;

// Some 200 megabytes, which take minutes where packets get lost on a long way.
onEveryCarrier("flow control", describeFlowControl, ({ far }) => far !== true);

function describeFlowControl(carrier: Carrier): void {
  const link = sharedLink(carrier, { server: WINDOWS, client: WINDOWS });
  let probe: Client<typeof ProbeDefinition>;
  let test: Client<typeof TestServiceDefinition>;
  before(() => {
    probe = link().channel.client(ProbeDefinition);
    test = link().channel.client(TestServiceDefinition);
  });

  /** Calls on the same connection, one after the other, that a stuck stream must not harm. */
  async function otherCalls(count: number): Promise<void> {
    const request = SimpleRequest.fromPartial({ responseSize: 100_000, payload: payload(100_000) });
    for (let i = 0; i < count; i++) {
      const { payload: body } = await within(
        SOON,
        test.unaryCall(request),
        `unary call ${i} beside the stream`,
      );
      expect(body!.body.length).to.equal(100_000);
    }
  }

  it("a reader that sleeps stops its own stream only, and memory stays bounded", async () => {
    const before = await within(SOON, probe.report({}), "a report");
    const chunks = probe.produce({ count: 0, bytes: BODY })[Symbol.asyncIterator]();
    let taken = 0;
    const take = async () => {
      const { value } = await within(SOON, chunks.next(), `message ${taken}`);
      expect(value.index).to.equal(taken++);
      expect(value.body.length).to.equal(BODY);
    };
    await take();
    for (let i = 0; i < 5; i++) {
      await otherCalls(100);
      const report = await within(SOON, probe.report({}), "a report");
      expect(Number(report.produced - before.produced)).to.be.at.most(taken + AHEAD);
      if (carrier.crossing) {
        expect(Number(report.residentBytes - before.residentBytes), "growth of the server").to.be.below(
          GROWTH,
        );
      }
    }
    while (taken < 200) await take();
    await within(SOON, chunks.return!(), "the end of the stream");
    await within(SOON, probe.settle({}), "the end of the handler");
    const after = await within(SOON, probe.report({}), "a report");
    expect(after.running).to.equal(0);
    expect(Number(after.produced - before.produced)).to.be.within(200, 200 + AHEAD);
  });

  it("a server that sleeps stops its own stream only", async () => {
    let made = 0;
    const holding = deferred();
    function* chunks() {
      for (; made < 200; made++) {
        yield { index: made, body: payload(BODY).body, hold: made === 0 ? "consume" : "" };
      }
    }
    const consumed = probe.consume(chunks(), { onHeader: () => holding.resolve() });
    await within(SOON, holding.promise, "the handler's first message");
    for (let i = 0; i < 5; i++) {
      await otherCalls(20);
      expect(made).to.be.at.most(1 + AHEAD);
    }
    await within(SOON, probe.release([{ key: "consume" }]), "the release");
    const { count, bytes } = await within(SOON, consumed, "the response");
    expect([count, bytes]).to.deep.equal([200, BigInt(200 * BODY)]);
  });

  it("a call that ends while its reader sleeps leaves the connection's window whole", async () => {
    // Each abandoned stream may hold up to its own window: together more than four times the connection's.
    for (let i = 0; i < 256; i++) {
      const chunks = probe.produce({ count: 0, bytes: BODY })[Symbol.asyncIterator]();
      await within(SOON, chunks.next(), `the first message of stream ${i}`);
      await within(SOON, chunks.return!(), `the end of stream ${i}`);
    }
    await within(SOON, probe.settle({}), "the end of the handlers");
    await otherCalls(20);
  });

  it("many streams fill both directions at once and drain", async function () {
    this.timeout(60_000);
    const count = 64;
    const exchange = async () => {
      let made = 0;
      function* requests() {
        for (; made < count; made++) {
          yield { count: 1, bytes: BODY, body: payload(BODY).body };
        }
      }
      let index = 0;
      for await (const chunk of probe.exchange(requests())) {
        expect(chunk.index).to.equal(index++);
        expect(chunk.body.length).to.equal(BODY);
      }
      return index;
    };
    const streams = Array.from({ length: 16 }, exchange);
    const counts = await within(50_000, Promise.all(streams), "the end of all streams");
    expect(counts).to.deep.equal(Array.from({ length: 16 }, () => count));
  });

  it("a message over the limit is refused, and the error says both sizes", async () => {
    const limit = 4 << 20;
    const sent = await failure(
      probe.echo({ index: 0, body: payload(limit + 1).body, hold: "" }),
      Status.RESOURCE_EXHAUSTED,
    );
    expect(sent.message)
      .to.contain(String(limit))
      .and.to.match(/419431\d/);
    const received = await failure(
      test.unaryCall(SimpleRequest.fromPartial({ responseSize: limit + 1 })),
      Status.RESOURCE_EXHAUSTED,
    );
    expect(received.message)
      .to.contain(String(limit))
      .and.to.match(/419431\d/);
    await otherCalls(1);
  });
}

onEveryCarrier(
  "large messages",
  (carrier) => {
    const wide = { ...LARGE, streamWindowBytes: 64 << 20, connectionWindowBytes: 256 << 20 };
    const link = sharedLink(carrier, { server: { limits: wide }, client: { limits: wide } });
    let probe: Client<typeof ProbeDefinition>;
    before(() => {
      probe = link().channel.client(ProbeDefinition);
    });

    it("a message of 64 MiB arrives whole, both ways", async function () {
      this.timeout(60_000);
      const body = pattern(64 << 20);
      const { body: back } = await within(50_000, probe.echo({ index: 7, body, hold: "" }), "the response");
      expect(back.length).to.equal(body.length);
      expect(Buffer.compare(back, body)).to.equal(0);
    });

    it("both sides write all they have before either reads", async function () {
      this.timeout(60_000);
      const count = 256;
      const requests = new Outbox<ExchangeRequest>();
      requests.push({ count, bytes: BODY, body: pattern(BODY) });
      const written = deferred();
      const sending = async function* () {
        yield* requests;
        written.resolve();
      };
      // The handler writes its messages before it takes another of ours; we take none of its before ours are written.
      const responses = probe.exchange(sending());
      for (let i = 1; i < count; i++) requests.push({ count: 0, bytes: 0, body: pattern(BODY, i) });
      requests.end();
      const iterator = responses[Symbol.asyncIterator]();
      const first = iterator.next();
      await within(50_000, written.promise, "the writing of all requests");
      let index = 0;
      for (let next = await within(SOON, first, "message 0"); !next.done;) {
        const { value } = next;
        expect(value.index).to.equal(index++);
        expect(Buffer.compare(value.body, pattern(BODY, value.index + 1))).to.equal(0);
        next = await within(SOON, iterator.next(), `message ${index}`);
      }
      expect(index).to.equal(count);
    });

    it("small calls pass a transfer of 64 MiB", async function () {
      this.timeout(60_000);
      const small = link().channel.client(TestServiceDefinition);
      const order: string[] = [];
      const big = probe
        .echo({ index: 0, body: payload(64 << 20).body, hold: "" })
        .then(() => void order.push("big"));
      // Together: one after the other, each would first wait for what the kernel had buffered of the large one.
      const calls = Array.from({ length: 10 }, () =>
        small.emptyCall({}).then(() => void order.push("small")),
      );
      await within(SOON, Promise.all(calls), "the small calls");
      await within(50_000, big, "the large call");
      expect(order).to.deep.equal([...Array.from({ length: 10 }, () => "small"), "big"]);
    });
  },
  distinct,
);
