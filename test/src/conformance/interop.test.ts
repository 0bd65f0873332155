/** gRPC's interoperability cases, by their names (grpc/doc/interop-test-descriptions.md in gRPC's repository). */
import { expect } from "chai";
import type { Metadata } from "@sluice/node";
import { Status, type Client } from "@sluice/node";
import {
  SimpleRequest,
  StreamingInputCallRequest,
  StreamingOutputCallRequest,
} from "../gen/grpc/testing/messages.js";
import { TestServiceDefinition, UnimplementedServiceDefinition } from "../gen/grpc/testing/test.js";
import { Outbox } from "../outbox.js";
import { payload } from "../payload.js";
import { collect, distinct, failure, onEveryCarrier, sharedLink, SOON } from "../suite.js";
import { within } from "../within.js";

const LARGE_REQUEST = 271_828;
const LARGE_RESPONSE = 314_159;
const REQUEST_SIZES = [27_182, 8, 1_828, 45_904];
const RESPONSE_SIZES = [31_415, 9, 2_653, 58_979];

const largeRequest = () =>
  SimpleRequest.fromPartial({ responseSize: LARGE_RESPONSE, payload: payload(LARGE_REQUEST) });

/** A request for one response of each of `sizes`. */
const outputRequest = (sizes: readonly number[], requestSize = 0) =>
  StreamingOutputCallRequest.fromPartial({
    responseParameters: sizes.map((size) => ({ size })),
    payload: payload(requestSize),
  });

onEveryCarrier("interop", (carrier) => {
  const link = sharedLink(carrier, { patient: true });
  let client: Client<typeof TestServiceDefinition>;
  before(() => {
    client = link().channel.client(TestServiceDefinition);
  });

  it("empty_unary", async () => {
    expect(await within(SOON, client.emptyCall({}), "the response")).to.deep.equal({});
  });

  it("large_unary", async () => {
    const response = await within(SOON, client.unaryCall(largeRequest()), "the response");
    expect(response.payload!.body.length).to.equal(LARGE_RESPONSE);
    expect(response.payload!.body.every((byte) => byte === 0)).to.equal(true);
  });

  it("client_streaming", async () => {
    const requests = REQUEST_SIZES.map((size) =>
      StreamingInputCallRequest.fromPartial({ payload: payload(size) }),
    );
    const response = await within(SOON, client.streamingInputCall(requests), "the response");
    expect(response.aggregatedPayloadSize).to.equal(74_922);
  });

  it("server_streaming", async () => {
    const responses = await collect(client.streamingOutputCall(outputRequest(RESPONSE_SIZES)));
    expect(responses.map((response) => response.payload!.body.length)).to.deep.equal(RESPONSE_SIZES);
  });

  it("ping_pong", async () => {
    const requests = new Outbox<StreamingOutputCallRequest>();
    const responses = client.fullDuplexCall(requests)[Symbol.asyncIterator]();
    for (const [i, size] of RESPONSE_SIZES.entries()) {
      requests.push(outputRequest([size], REQUEST_SIZES[i]));
      const { value } = await within(SOON, responses.next(), `response ${i}`);
      expect(value.payload.body.length).to.equal(size);
    }
    requests.end();
    expect((await within(SOON, responses.next(), "the end of the stream")).done).to.equal(true);
  });

  it("empty_stream", async () => {
    expect(await collect(client.fullDuplexCall([]))).to.deep.equal([]);
  });

  it("custom_metadata", async () => {
    const trailing = Uint8Array.from([0xab, 0xab, 0xab]);
    const metadata = {
      "x-grpc-test-echo-initial": "test_initial_metadata_value",
      "x-grpc-test-echo-trailing-bin": trailing,
    };
    const check = async (
      make: (options: {
        metadata: typeof metadata;
        onHeader: (header: Metadata) => void;
        onTrailer: (trailer: Metadata) => void;
      }) => Promise<unknown>,
    ) => {
      const headers: Metadata[] = [];
      const trailers: Metadata[] = [];
      await make({
        metadata,
        onHeader: (header) => headers.push(header),
        onTrailer: (trailer) => trailers.push(trailer),
      });
      expect(headers.map((h) => h.getAll("x-grpc-test-echo-initial"))).to.deep.equal([
        ["test_initial_metadata_value"],
      ]);
      expect(trailers.map((t) => t.getAll("x-grpc-test-echo-trailing-bin"))).to.deep.equal([[trailing]]);
    };
    await check((options) => within(SOON, client.unaryCall(largeRequest(), options), "the response"));
    await check((options) =>
      collect(client.fullDuplexCall([outputRequest([LARGE_RESPONSE], LARGE_REQUEST)], options)),
    );
  });

  it("status_code_and_message", async () => {
    const responseStatus = { code: Status.UNKNOWN, message: "test status message" };
    const unary = await failure(
      client.unaryCall(SimpleRequest.fromPartial({ responseStatus })),
      Status.UNKNOWN,
    );
    expect(unary.message).to.equal("test status message");
    const request = StreamingOutputCallRequest.fromPartial({ responseStatus });
    const stream = await failure(collect(client.fullDuplexCall([request])), Status.UNKNOWN);
    expect(stream.message).to.equal("test status message");
  });

  it("special_status_message", async () => {
    const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
    const request = SimpleRequest.fromPartial({ responseStatus: { code: Status.UNKNOWN, message } });
    expect((await failure(client.unaryCall(request), Status.UNKNOWN)).message).to.equal(message);
  });

  it("unimplemented_method", async () => {
    const error = await failure(client.unimplementedCall({}), Status.UNIMPLEMENTED);
    expect(error.message).to.contain("grpc.testing.TestService").and.to.contain("UnimplementedCall");
    expect(error.mayHaveRun).to.equal(false);
    // The number that the method was given is valid all the same.
    await failure(client.unimplementedCall({}), Status.UNIMPLEMENTED);
    await within(SOON, client.emptyCall({}), "a call after it");
  });

  it("unimplemented_service", async () => {
    const other = link().channel.client(UnimplementedServiceDefinition);
    const error = await failure(other.unimplementedCall({}), Status.UNIMPLEMENTED);
    expect(error.message).to.contain("grpc.testing.UnimplementedService");
  });

  it("cancel_after_begin", async () => {
    const abort = new AbortController();
    const call = client.streamingInputCall(new Outbox<StreamingInputCallRequest>(), { signal: abort.signal });
    abort.abort();
    await failure(call, Status.CANCELLED);
  });

  it("cancel_after_first_response", async () => {
    const abort = new AbortController();
    const requests = new Outbox<StreamingOutputCallRequest>();
    const responses = client.fullDuplexCall(requests, { signal: abort.signal })[Symbol.asyncIterator]();
    requests.push(outputRequest([RESPONSE_SIZES[0]!], REQUEST_SIZES[0]));
    await within(SOON, responses.next(), "the first response");
    abort.abort();
    await failure(responses.next(), Status.CANCELLED);
  });

  it("timeout_on_sleeping_server", async () => {
    const requests = new Outbox<StreamingOutputCallRequest>();
    requests.push(StreamingOutputCallRequest.fromPartial({ payload: payload(27_182) }));
    await failure(collect(client.fullDuplexCall(requests, { timeoutMs: 1 })), Status.DEADLINE_EXCEEDED);
  });

  it("concurrent_large_unary", async function () {
    this.timeout(90_000);
    const request = largeRequest();
    const calls = Array.from({ length: carrier.far ? 3 : distinct(carrier) ? 1000 : 100 }, async () => {
      const response = await client.unaryCall(request);
      return response.payload!.body.length;
    });
    const sizes = await within(80_000, Promise.all(calls), "every response");
    expect(new Set(sizes)).to.deep.equal(new Set([LARGE_RESPONSE]));
  });
});
