/** nice-grpc over a Unix socket: grpc-js inside, with the settings that made that fastest. */
import { join } from "node:path";
import { createChannel, createClient, createServer } from "nice-grpc";
import type { Implementation } from "../implementation.js";
import { GRPC_OPTIONS } from "./grpc-js.js";
import { definition } from "./protobuf.js";
import { asynchronous, handlers, callsOf } from "./service.js";

export const niceGrpc: Implementation = {
  async serve(_transport, directory) {
    const address = `unix://${join(directory, "nice-grpc.sock")}`;
    const server = createServer(GRPC_OPTIONS);
    server.add(definition, {
      ...handlers,
      serverStreaming: (request) => asynchronous(handlers.serverStreaming(request)),
    });
    await server.listen(address);
    return { address, close: () => server.shutdown() };
  },

  async connect(_transport, address) {
    const channel = createChannel(address, undefined, GRPC_OPTIONS);
    const stub = createClient(definition, channel);
    return {
      ...callsOf({ ...stub, clientStreaming: (messages) => stub.clientStreaming(asynchronous(messages)) }),
      async close() {
        channel.close();
      },
    };
  },
};
