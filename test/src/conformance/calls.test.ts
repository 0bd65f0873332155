/** What comes with a call: deadlines, cancellation, metadata, errors, Observables, and calls the other way. */
import { expect } from "chai";
import { Metadata, Status, type CallOptions, type Client } from "@sluice/node";
import type { SimpleRequest } from "../gen/grpc/testing/messages.js";
import { StreamingOutputCallRequest } from "../gen/grpc/testing/messages.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition, type Chunk, type ReportResponse } from "../gen/sluice/testing/probe.js";
import { namespaceUnavailable } from "../namespace.js";
import { Outbox } from "../outbox.js";
import { addServices, callEachKind, type Probe } from "../services.js";
import { collect, failure, onEveryCarrier, sharedLink, SOON } from "../suite.js";
import { deferred, within } from "../within.js";

if (namespaceUnavailable !== undefined) {
  describe.skip(`all of this over udp: with 5 % loss: ${namespaceUnavailable}`, () => {});
}

onEveryCarrier("calls", (carrier) => {
  const link = sharedLink(carrier);
  let probe: Client<typeof ProbeDefinition>;
  let test: Client<typeof TestServiceDefinition>;
  /** The probe of this process, which the server reaches over the same connection. */
  let own: Probe;
  before(() => {
    probe = link().channel.client(ProbeDefinition);
    test = link().channel.client(TestServiceDefinition);
    own = addServices(link().channel);
  });

  const report = (): Promise<ReportResponse> => within(SOON, probe.report({}), "a report");
  const settle = () => within(SOON, probe.settle({}), "the end of every handler");

  /** Start a Hold or a Relay, and resolve once its handler runs. `ended` is the call itself. */
  async function begin(method: "hold" | "relay", key: string, options: CallOptions = {}) {
    const running = deferred();
    const ended = probe[method]({ key }, { ...options, onHeader: () => running.resolve() });
    await within(SOON, Promise.race([running.promise, ended]), `the running of ${key}`);
    return { ended };
  }

  describe("both ways", () => {
    it("calls of all kinds go both ways on one connection", async () => {
      const expected = { unary: 314_159, clientStreaming: 74_922, serverStreaming: 123, bidirectional: 246 };
      const both = Promise.all([callEachKind(link().channel), probe.callBack({})]);
      expect(await within(SOON, both, "calls both ways")).to.deep.equal([expected, expected]);
    });
  });

  describe("deadlines", () => {
    it("a deadline ends the call at both ends, never early", async () => {
      const deadline = Date.now() + 300;
      const { ended } = await begin("hold", "deadline", { deadline });
      const error = await failure(ended, Status.DEADLINE_EXCEEDED);
      expect(Date.now()).to.be.at.least(deadline);
      expect(error.mayHaveRun).to.equal(true);
      await settle();
    });

    it("the handler sees the deadline", async () => {
      const start = Date.now();
      const { ended } = await begin("hold", "seen", { timeoutMs: 60_000 });
      const delay = Date.now() - start;
      await within(SOON, probe.release([{ key: "seen" }]), "the release");
      const { deadline } = await within(SOON, ended, "the response");
      expect(deadline).to.be.within(start + 59_900, start + 60_100 + delay);
    });

    it("a deadline that has passed fails the call before it is sent", async () => {
      const before = await report();
      const past = probe.hold({ key: "past" }, { deadline: Date.now() - 1 });
      const error = await failure(past, Status.DEADLINE_EXCEEDED);
      expect(error.mayHaveRun).to.equal(false);
      expect((await report()).started).to.equal(before.started);
    });

    it("a deadline is passed on to a call made on behalf of the call", async () => {
      const start = Date.now();
      const { ended } = await begin("relay", "relayed", { timeoutMs: 60_000 });
      const delay = Date.now() - start;
      own.release("relayed");
      const { deadline } = await within(SOON, ended, "the response");
      expect(deadline).to.be.within(start + 59_900, start + 60_100 + delay);
    });

    it("and ends that call too", async () => {
      const { ended } = await begin("relay", "relayed late", { timeoutMs: 300 });
      await failure(ended, Status.DEADLINE_EXCEEDED);
      await within(SOON, own.settled(), "the end of the relayed call");
      await settle();
    });
  });

  describe("cancellation", () => {
    it("aborts the handler's signal", async () => {
      const abort = new AbortController();
      const { ended } = await begin("hold", "cancelled", { signal: abort.signal });
      abort.abort();
      const error = await failure(ended, Status.CANCELLED);
      expect(error.mayHaveRun).to.equal(true);
      await settle();
    });

    it("is passed on to a call made on behalf of the call", async () => {
      const abort = new AbortController();
      const { ended } = await begin("relay", "relayed", { signal: abort.signal });
      expect(own.running).to.equal(1);
      abort.abort();
      await failure(ended, Status.CANCELLED);
      await within(SOON, own.settled(), "the end of the relayed call");
      await settle();
    });

    it("of a signal that was aborted before fails the call before it is sent", async () => {
      const before = await report();
      const call = probe.hold({ key: "never" }, { signal: AbortSignal.abort() });
      expect((await failure(call, Status.CANCELLED)).mayHaveRun).to.equal(false);
      expect((await report()).started).to.equal(before.started);
    });

    it("of one signal ends all its calls and no other", async () => {
      const abort = new AbortController();
      const doomed = await Promise.all(
        Array.from({ length: 100 }, (_, i) => begin("hold", `doomed ${i}`, { signal: abort.signal })),
      );
      const spared = await begin("hold", "spared");
      abort.abort();
      await Promise.all(doomed.map(({ ended }) => failure(ended, Status.CANCELLED)));
      const others = async () => {
        while ((await report()).running > 1);
      };
      await within(SOON, others(), "the end of the handlers");
      await within(SOON, probe.release([{ key: "spared" }]), "the release");
      await within(SOON, spared.ended, "the response");
    });

    it("leaving a stream's loop ends its handler", async () => {
      for await (const chunk of probe.produce({ count: 0, bytes: 10 })) if (chunk.index === 3) break;
      await settle();
    });

    it("an error of the request iterable fails the call, and the handler learns of it", async () => {
      const requests = new Outbox<Chunk>();
      const holding = deferred();
      requests.push({ index: 0, body: new Uint8Array(3), hold: "failing" });
      const call = probe.consume(requests, { onHeader: () => holding.resolve() });
      await within(SOON, holding.promise, "the handler's first message");
      requests.fail(new Error("no more numbers"));
      let error: unknown;
      await within(
        SOON,
        call.catch((reason: unknown) => (error = reason)),
        "the end of the call",
      );
      expect(String(error)).to.contain("no more numbers");
      await settle();
    });

    it("an iterable of requests is closed when the call ends first", async () => {
      const requests = new Outbox<StreamingOutputCallRequest>();
      requests.push(
        StreamingOutputCallRequest.fromPartial({ responseStatus: { code: Status.ABORTED, message: "no" } }),
      );
      await failure(collect(test.fullDuplexCall(requests)), Status.ABORTED);
      requests.end();
    });
  });

  describe("metadata", () => {
    it("keeps order, several values of a name, and bytes", async () => {
      const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
      let header = new Metadata();
      let trailer = new Metadata();
      const metadata = new Metadata([
        ["X-Grpc-Test-Echo-Initial", " every printable character: ~!@#$%^&*() "],
        ["other", "1"],
        ["other", "2"],
        ["x-grpc-test-echo-trailing-bin", bytes],
      ]);
      const options = {
        metadata,
        onHeader: (m: Metadata) => (header = m),
        onTrailer: (m: Metadata) => (trailer = m),
      };
      await within(SOON, test.emptyCall({}, options), "the response");
      expect(header.get("x-grpc-test-echo-initial")).to.equal(" every printable character: ~!@#$%^&*() ");
      expect(trailer.get("x-grpc-test-echo-trailing-bin")).to.deep.equal(bytes);
    });

    it("headers come before the first message, and trailers before the end", async () => {
      const events: string[] = [];
      const requests = new Outbox<StreamingOutputCallRequest>();
      const responses = test.fullDuplexCall(requests, {
        metadata: { "x-grpc-test-echo-initial": "a" },
        onHeader: () => events.push("header"),
        onTrailer: () => events.push("trailer"),
      });
      requests.push(StreamingOutputCallRequest.fromPartial({ responseParameters: [{ size: 1 }] }));
      requests.end();
      const read = async () => {
        for await (const _ of responses) events.push("message");
        events.push("end");
      };
      await within(SOON, read(), "the end of the stream");
      // Trailers that have arrived are told of even if a message still waits for its reader.
      expect(events).to.have.members(["header", "message", "trailer", "end"]);
      expect([events[0], events[3]]).to.deep.equal(["header", "end"]);
    });

    it("over the limit fails the call, and the error says both sizes", async () => {
      const metadata = { big: "x".repeat(17 << 10) };
      const error = await failure(test.emptyCall({}, { metadata }), Status.RESOURCE_EXHAUSTED);
      expect(error.message)
        .to.contain(String(16 << 10))
        .and.to.match(/174\d\d/);
      await within(SOON, test.emptyCall({}), "a call after it");
    });
  });

  describe("errors", () => {
    it("carry code, message, details and trailers", async () => {
      const details = [
        { typeUrl: "type.googleapis.com/google.rpc.RetryInfo", value: Uint8Array.from([10, 2, 8, 5]) },
        { typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: new Uint8Array(300).fill(7) },
      ];
      const call = probe.fail({
        code: Status.NOT_FOUND,
        message: "no such file",
        details,
        trailers: new Map([["why", "gone"]]),
      });
      const error = await failure(call, Status.NOT_FOUND);
      expect(error.message).to.equal("no such file");
      expect(error.details).to.deep.equal(details);
      expect(error.metadata?.get("why")).to.equal("gone");
      expect(error.mayHaveRun).to.equal(true);
    });

    for (const [name, code] of Object.entries(Status).filter(([, code]) => code !== Status.OK)) {
      it(`of code ${name} arrive as such`, async () => {
        const error = await failure(
          probe.fail({ code, message: name, details: [], trailers: new Map() }),
          code,
        );
        expect(error.message).to.equal(name);
      });
    }
  });

  describe("Observables from handlers", () => {
    it("are sent to their end", async () => {
      const chunks = await collect(probe.observe({ count: 100, bytes: 1000 }));
      expect(chunks.map(({ index }) => index)).to.deep.equal(Array.from({ length: 100 }, (_, i) => i));
    });

    it("are unsubscribed from when the call is cancelled", async () => {
      const { unsubscribed } = await report();
      for await (const chunk of probe.observe({ count: 0, bytes: 10 })) if (chunk.index === 3) break;
      await settle();
      expect((await report()).unsubscribed).to.equal(unsubscribed + 1);
    });
  });

  it("what is not a message is refused with INVALID_ARGUMENT or the codec's own error, and harms no other call", async () => {
    const wrong = { responseSize: "many", payload: { body: 7 } } as unknown as SimpleRequest;
    let error: unknown;
    await within(
      SOON,
      test.unaryCall(wrong).catch((reason: unknown) => (error = reason)),
      "the end of the call",
    );
    expect(error).to.be.instanceOf(Error);
    await within(SOON, test.emptyCall({}), "a call after it");
  });
});
