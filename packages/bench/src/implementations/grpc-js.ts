/**
 * @grpc/grpc-js over a Unix socket, with the settings that made it fastest here: no size limits, no channelz records, no
 * retry buffers, HTTP/2 windows of 4 MiB.
 */
import { join } from "node:path";
import type { Writable } from "node:stream";
import grpc from "@grpc/grpc-js";
import { Window } from "../echo-client.js";
import { streamBodies, type BenchClient, type EchoCall, type Implementation } from "../implementation.js";
import { definition } from "./protobuf.js";
import { handlers, type Echo, type StreamRequest, type StreamSummary } from "./service.js";

export const GRPC_OPTIONS = {
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  "grpc.enable_channelz": 0,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc-node.flow_control_window": 4 * 1024 * 1024,
  // Otherwise all channels of a process to one address share a connection.
  "grpc.use_local_subchannel_pool": 1,
} satisfies grpc.ChannelOptions;

export const grpcJs: Implementation = {
  async serve(_transport, directory) {
    const address = `unix:${join(directory, "grpc.sock")}`;
    const server = new grpc.Server(GRPC_OPTIONS);
    server.addService(definition, {
      unary,
      hold: answerWith(handlers.hold),
      release: answerWith(handlers.release),
      serverStreaming,
      clientStreaming,
      bidiStreaming,
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
    const client = new grpc.Client(address, grpc.credentials.createInsecure(), GRPC_OPTIONS);
    await new Promise<void>((resolve, reject) =>
      client.waitForReady(Infinity, (error) => (error === undefined ? resolve() : reject(error))),
    );
    const { serverStreaming, clientStreaming, bidiStreaming } = definition;
    const unaryCall =
      ({ path, requestSerialize, responseDeserialize }: (typeof definition)["unary"]): EchoCall =>
      (body) =>
        new Promise((resolve, reject) =>
          client.makeUnaryRequest<Echo, Echo>(
            path,
            requestSerialize,
            responseDeserialize,
            { body },
            (error, reply) => (error === null ? resolve(reply!) : reject(error)),
          ),
        );
    const unary = unaryCall(definition.unary);

    return {
      unary: () => unary,
      hold: unaryCall(definition.hold),
      release: unaryCall(definition.release),

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

      clientStreaming: (body, count) =>
        new Promise((resolve, reject) => {
          const stream = client.makeClientStreamRequest<Echo, StreamSummary>(
            clientStreaming.path,
            clientStreaming.requestSerialize,
            clientStreaming.responseDeserialize,
            (error, summary) => (error === null ? resolve(summary!.count) : reject(error)),
          );
          writeAll(stream, [{ body }], count);
        }),

      bidiStreaming: (body, inFlight, onBody, onEcho) =>
        new Promise((resolve, reject) => {
          const stream = client.makeBidiStreamRequest<Echo, Echo>(
            bidiStreaming.path,
            bidiStreaming.requestSerialize,
            bidiStreaming.responseDeserialize,
          );
          const send = (times: number) => {
            for (let sent = 0; sent < times; sent++) stream.write({ body });
          };
          const underWay = new Window(inFlight, onEcho, send, () => stream.end());
          stream.on("data", (message: Echo) => {
            onBody(message.body);
            underWay.returned(1);
          });
          stream.on("end", resolve);
          stream.on("error", reject);
          underWay.open();
        }),

      async close() {
        client.close();
      },
    };
  },
};

function unary(call: grpc.ServerUnaryCall<Echo, Echo>, callback: grpc.sendUnaryData<Echo>): void {
  callback(null, call.request);
}

function answerWith(handler: (request: Echo) => Promise<Echo>): grpc.handleUnaryCall<Echo, Echo> {
  return ({ request }, callback) =>
    void handler(request).then(
      (reply) => callback(null, reply),
      (error: Error) => callback(error),
    );
}

function serverStreaming(call: grpc.ServerWritableStream<StreamRequest, Echo>): void {
  const { count, bytes } = call.request;
  const messages = streamBodies(bytes).map((body) => ({ body }));
  writeAll(call, messages, count, () => call.cancelled);
}

function clientStreaming(
  call: grpc.ServerReadableStream<Echo, StreamSummary>,
  callback: grpc.sendUnaryData<StreamSummary>,
): void {
  let count = 0;
  call.on("data", () => count++);
  call.on("end", () => callback(null, { count }));
}

function bidiStreaming(call: grpc.ServerDuplexStream<Echo, Echo>): void {
  call.on("data", (message: Echo) => call.write(message));
  call.on("end", () => call.end());
}

/** Writes `messages` in turn, `count` in all, while there is room, as Node's streams ask. */
function writeAll(stream: Writable, messages: readonly Echo[], count: number, stopped = () => false): void {
  let sent = 0;
  const write = () => {
    while (sent < count && !stopped()) {
      if (!stream.write(messages[sent++ % messages.length])) {
        stream.once("drain", write);
        return;
      }
    }
    stream.end();
  };
  write();
}
