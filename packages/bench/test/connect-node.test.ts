import { create, toBinary } from "@bufbuild/protobuf";
import { expect } from "chai";
import { encodeMessage } from "@sluice/core/protobuf";
import { BenchDefinition, Echo, StreamRequest, StreamSummary } from "@sluice/bench/gen/echo.js";
import { service } from "@sluice/bench/implementations/connect-node.js";

describe("the descriptor of connect-node", () => {
  it("has the service of echo.proto", () => {
    const kinds: Record<string, string> = {
      unary: "unary",
      server_streaming: "serverStreaming",
      client_streaming: "clientStreaming",
      bidi_streaming: "bidiStreaming",
    };
    expect(service.typeName).to.equal(BenchDefinition.fullName);
    const methods = service.methods.map(({ name, methodKind }) => [name, kinds[methodKind]]);
    expect(methods).to.deep.equal(
      Object.values(BenchDefinition.methods).map(({ name, requestStream, responseStream }) => [
        name,
        requestStream
          ? responseStream
            ? "bidiStreaming"
            : "clientStreaming"
          : responseStream
            ? "serverStreaming"
            : "unary",
      ]),
    );
  });

  it("has messages that are encoded as those of echo.proto", () => {
    const samples = {
      Echo: [Echo, { body: Uint8Array.of(1, 2, 3) }],
      StreamRequest: [StreamRequest, { count: 300, bytes: 70_000 }],
      StreamSummary: [StreamSummary, { count: 5 }],
    } as const;
    for (const { input, output } of service.methods) {
      for (const schema of [input, output]) {
        const [codec, message] = samples[schema.name as keyof typeof samples];
        expect(toBinary(schema, create(schema, message))).to.deep.equal(
          encodeMessage(codec as never, message),
        );
      }
    }
  });
});
