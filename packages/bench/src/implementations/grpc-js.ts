/**
 * @grpc/grpc-js over a Unix socket, with the settings that made it fastest here: no size limits, no channelz records, no
 * retry buffers, HTTP/2 windows of 4 MiB. protobufjs encodes and decodes, being faster in it than ts-proto's stock code.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";
import { streamBodies, type BenchClient, type EchoCall, type Implementation } from "../implementation.js";

interface Echo {
  body: Uint8Array;
}

interface StreamRequest {
  count: number;
  bytes: number;
}

const OPTIONS: grpc.ChannelOptions = {
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  "grpc.enable_channelz": 0,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc-node.flow_control_window": 4 * 1024 * 1024,
  // Otherwise all channels of a process to one address share a connection.
  "grpc.use_local_subchannel_pool": 1,
};

const schema = protobuf.loadSync(fileURLToPath(new URL("../../proto/echo.proto", import.meta.url)));
const echo = codec<Echo>("sluice.bench.Echo");
const streamRequest = codec<StreamRequest>("sluice.bench.StreamRequest");

const definition = {
  unary: {
    path: "/sluice.bench.Bench/Unary",
    requestStream: false,
    responseStream: false,
    requestSerialize: echo.serialize,
    requestDeserialize: echo.deserialize,
    responseSerialize: echo.serialize,
    responseDeserialize: echo.deserialize,
  },
  serverStreaming: {
    path: "/sluice.bench.Bench/ServerStreaming",
    requestStream: false,
    responseStream: true,
    requestSerialize: streamRequest.serialize,
    requestDeserialize: streamRequest.deserialize,
    responseSerialize: echo.serialize,
    responseDeserialize: echo.deserialize,
  },
} satisfies grpc.ServiceDefinition;

export const grpcJs: Implementation = {
  name: "grpc-js",
  packageName: "@grpc/grpc-js",
  transports: { unix: "own process" },

  async serve(_transport, directory) {
    const address = `unix:${join(directory, "grpc.sock")}`;
    const server = new grpc.Server(OPTIONS);
    server.addService(definition, {
      unary: (call: grpc.ServerUnaryCall<Echo, Echo>, callback: grpc.sendUnaryData<Echo>) =>
        callback(null, call.request),
      serverStreaming,
    });
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
    return {
      address,
      close: () =>
        new Promise((resolve, reject) =>
          server.tryShutdown((error) => (error === undefined ? resolve() : reject(error))),
        ),
    };
  },

  async connect(_transport, address): Promise<BenchClient> {
    const client = new grpc.Client(address, grpc.credentials.createInsecure(), OPTIONS);
    const { unary, serverStreaming } = definition;
    const call: EchoCall = (body) =>
      new Promise((resolve, reject) =>
        client.makeUnaryRequest<Echo, Echo>(
          unary.path,
          unary.requestSerialize,
          unary.responseDeserialize,
          { body },
          (error, reply) => (error === null ? resolve(reply!) : reject(error)),
        ),
      );
    await call(new Uint8Array(1));

    return {
      unary(option) {
        if (option !== undefined) throw new Error(`grpc-js is not measured with the call option "${option}"`);
        return call;
      },
      serverStreaming: (bytes, count, onMessage) =>
        new Promise((resolve, reject) => {
          const stream = client.makeServerStreamRequest<StreamRequest, Echo>(
            serverStreaming.path,
            serverStreaming.requestSerialize,
            serverStreaming.responseDeserialize,
            { bytes, count },
          );
          let cancelled = false;
          stream.on("data", (message: Echo) => {
            if (cancelled || onMessage(message.body)) return;
            cancelled = true;
            stream.cancel();
          });
          stream.on("end", resolve);
          stream.on("error", (error) => (cancelled ? resolve() : reject(error)));
        }),
      async close() {
        client.close();
      },
    };
  },
};

/** Writes while there is room, as Node's streams ask. */
function serverStreaming(call: grpc.ServerWritableStream<StreamRequest, Echo>): void {
  const { count, bytes } = call.request;
  const messages = streamBodies(bytes).map((body) => ({ body }));
  let sent = 0;
  const write = () => {
    while (sent < count && !call.cancelled) {
      if (!call.write(messages[sent++ % messages.length])) {
        call.once("drain", write);
        return;
      }
    }
    call.end();
  };
  write();
}

function codec<T extends object>(name: string) {
  const type = schema.lookupType(name);
  return {
    serialize: (message: T) => type.encode(message).finish() as Buffer,
    deserialize: (bytes: Buffer) => type.decode(bytes) as unknown as T,
  };
}
