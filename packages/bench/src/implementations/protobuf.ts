/** echo.proto by protobufjs, which is faster in grpc-js than ts-proto's stock code. */
import { fileURLToPath } from "node:url";
import type { ServiceDefinition } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import type { Echo, StreamRequest, StreamSummary } from "./service.js";

export const schema = protobuf.loadSync(fileURLToPath(new URL("../../proto/echo.proto", import.meta.url)));

export const echoCodec = codec<Echo>("sluice.bench.Echo");
const streamRequestCodec = codec<StreamRequest>("sluice.bench.StreamRequest");
const streamSummaryCodec = codec<StreamSummary>("sluice.bench.StreamSummary");

/** As grpc-js takes it. */
export const definition = {
  unary: unary("Unary"),
  hold: unary("Hold"),
  release: unary("Release"),
  serverStreaming: {
    path: "/sluice.bench.Bench/ServerStreaming",
    requestStream: false,
    responseStream: true,
    ...messages(streamRequestCodec, echoCodec),
  },
  clientStreaming: {
    path: "/sluice.bench.Bench/ClientStreaming",
    requestStream: true,
    responseStream: false,
    ...messages(echoCodec, streamSummaryCodec),
  },
  bidiStreaming: {
    path: "/sluice.bench.Bench/BidiStreaming",
    requestStream: true,
    responseStream: true,
    ...messages(echoCodec, echoCodec),
  },
} as const satisfies ServiceDefinition;

function unary(name: string) {
  return {
    path: `/sluice.bench.Bench/${name}`,
    requestStream: false,
    responseStream: false,
    ...messages(echoCodec, echoCodec),
  } as const;
}

interface Codec<T> {
  encode(message: T): Buffer;
  decode(bytes: Uint8Array): T;
}

function codec<T extends object>(name: string): Codec<T> {
  const type = schema.lookupType(name);
  return {
    encode: (message) => type.encode(message).finish() as Buffer,
    decode: (bytes) => type.decode(bytes) as unknown as T,
  };
}

function messages<Request, Response>(request: Codec<Request>, response: Codec<Response>) {
  return {
    requestSerialize: request.encode,
    requestDeserialize: request.decode,
    responseSerialize: response.encode,
    responseDeserialize: response.decode,
  };
}
