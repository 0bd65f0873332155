import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect, createServer, spawn, type Channel, type Server } from "@sluice/node";
import { BenchDefinition } from "../gen/echo.js";
import { streamBodies, type BenchClient, type EchoCall, type Implementation } from "../implementation.js";

const SERVER_SCRIPT = fileURLToPath(new URL("../server-process.js", import.meta.url));

export const sluice: Implementation = {
  name: "sluice",
  packageName: "@sluice/node",
  transports: {
    memory: "by client",
    pipe: "by client",
    stdio: "by client",
    unix: "own process",
    tcp: "own process",
  },

  async serve(transport, directory) {
    const server = benchServer();
    const { address } = await server.listen(listenAddress(transport, directory));
    return { address, close: () => server.close() };
  },

  async connect(transport, address) {
    switch (transport) {
      case "memory": {
        const server = benchServer();
        const listener = await server.listen(listenAddress(transport, address));
        const channel = await connect(listener.address);
        return benchClient(channel, () => server.close());
      }
      case "pipe":
      case "stdio": {
        // This process's own flags too, so that a profile covers the child.
        const command = [...process.execArgv, SERVER_SCRIPT, "sluice", transport, address];
        const { channel } = await spawn(process.execPath, command, { over: `${transport}:` });
        return benchClient(channel);
      }
      default:
        return benchClient(await connect(address));
    }
  },
};

function listenAddress(transport: string, directory: string): string {
  switch (transport) {
    case "memory":
      return "memory:bench";
    case "pipe":
    case "stdio":
      return `${transport}:`;
    case "unix":
      return `unix:${join(directory, "sluice.sock")}`;
    case "tcp":
      return "tcp://127.0.0.1:0";
    default:
      throw new Error(`no address is known for the transport "${transport}"`);
  }
}

function benchServer(): Server {
  const server = createServer();
  server.add(BenchDefinition, {
    async unary(request) {
      return request;
    },
    async *serverStreaming({ count, bytes }) {
      const messages = streamBodies(bytes).map((body) => ({ body }));
      for (let sent = 0; sent < count; sent++) yield messages[sent % messages.length];
    },
  });
  return server;
}

function benchClient(channel: Channel, closeServer?: () => Promise<void>): BenchClient {
  const stub = channel.client(BenchDefinition);
  return {
    unary(option): EchoCall {
      switch (option) {
        case undefined:
          return (body) => stub.unary({ body });
        case "deadline":
          return (body) => stub.unary({ body }, { timeoutMs: 10_000 });
        case "metadata": {
          let calls = 0;
          return (body) =>
            stub.unary(
              { body },
              {
                metadata: {
                  "x-request-id": REQUEST_IDS[++calls % REQUEST_IDS.length],
                  "x-tenant": "acme",
                  "x-client": "bench/1.0",
                  "accept-language": "en",
                  "x-trace-bin": TRACE,
                },
              },
            );
        }
        case "signal": {
          const { signal } = new AbortController();
          return (body) => stub.unary({ body }, { signal });
        }
      }
    },
    async serverStreaming(bytes, count, onMessage) {
      for await (const { body } of stub.serverStreaming({ bytes, count })) {
        if (!onMessage(body)) break;
      }
    },
    async close() {
      await channel.close();
      await closeServer?.();
    },
  };
}

/** Made before they are needed: V8 remembers the texts of numbers, which costs more than sending them. */
const REQUEST_IDS = Array.from({ length: 4096 }, (_, index) => String(100_000 + index));
const TRACE = new Uint8Array(16).fill(7);
