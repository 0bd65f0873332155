import { randomInt } from "node:crypto";
import { basename, join } from "node:path";
import {
  connect,
  createServer,
  createSyncClient,
  spawn,
  transports,
  type Channel,
  type Connection,
  type Server,
  type ServerContext,
  type TransportOptions,
} from "@sluice/node";
import { echoClient } from "../echo-client.js";
import { BenchDefinition } from "../gen/echo.js";
import {
  SERVER_SCRIPT,
  type BenchClient,
  type BenchServer,
  type EchoCall,
  type Implementation,
} from "../implementation.js";
import { handlers, callsOf, type Echo } from "./service.js";

/** The unary call with a handler that reads its metadata, which arrives undecoded: other calls' handlers must not look for any. */
const MetadataDefinition = {
  name: "BenchMetadata",
  fullName: "sluice.bench.BenchMetadata",
  methods: { unary: BenchDefinition.methods.unary },
};

export const sluice: Implementation = {
  async serve(transport, directory) {
    if (transport === "tls") return serveTls();
    if (transport === "shm-frames") return serveFrames(`shm:${join(directory, "frames.shm")}`);
    const server = benchServer(transport === "shm-lent");
    const { address } = await server.listen(listenAddress(transport, directory), options(transport));
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
      case "tls": {
        const [at, ca] = address.split(" ", 2) as [string, string];
        return benchClient(await connect(at, { ca: Buffer.from(ca, "base64") }));
      }
      case "shm-sync":
        return syncClient(address);
      case "shm-frames":
        return connectFrames(address);
      default:
        return benchClient(await connect(address, options(transport)));
    }
  },
};

/** Of both ends, where they differ from the defaults. */
function options(transport: string): TransportOptions {
  if (transport.endsWith("-nopoll")) return { poll: { us: 0 } };
  // As large as Linux lets queues be by default (mq_overview(7)).
  if (transport === "mq-large") return { messages: 10, messageBytes: 8192 };
  return transport === "udp-secret" ? { secret: "5e".repeat(32) } : {};
}

function listenAddress(transport: string, directory: string): string {
  switch (transport) {
    case "memory":
      return "memory:bench";
    case "pipe":
    case "stdio":
      return `${transport}:`;
    case "unix":
    case "unix-nopoll":
      return `unix:${join(directory, "sluice.sock")}`;
    case "tcp":
      return "tcp://127.0.0.1:0";
    case "udp":
    case "udp-secret":
      return "udp://127.0.0.1:0";
    case "shm":
    case "shm-nopoll":
    case "shm-sync":
    case "shm-lent":
      return `shm:${join(directory, "sluice.shm")}`;
    case "mmap":
      return `mmap:${join(directory, "sluice.mmap")}`;
    case "fifo":
      return `fifo:${join(directory, "sluice.fifo")}`;
    case "mq":
    case "mq-large":
      return `mq:/${basename(directory)}`;
    case "auto":
      return `auto:${basename(directory)}`;
    case "sysvmq":
      return `sysvmq:${randomInt(1, 2 ** 31)}`;
    default:
      throw new Error(`no address is known for the transport "${transport}"`);
  }
}

function benchServer(lendBytes = false): Server {
  const server = createServer();
  server.add(BenchDefinition, handlers, { lendBytes });
  server.add(MetadataDefinition, { unary: readMetadata });
  return server;
}

async function readMetadata(request: Echo, { metadata }: ServerContext): Promise<Echo> {
  for (const name of METADATA_NAMES) {
    if (metadata.get(name) === undefined) throw new Error(`a call came without ${name}`);
  }
  return request;
}

/** Its address is followed by its certificate, for the client to trust. */
async function serveTls(): Promise<BenchServer> {
  const { generate } = await import("selfsigned");
  const { cert, private: key } = await generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] }],
  });
  const server = benchServer();
  const { address } = await server.listen("tls://127.0.0.1:0", { cert, key });
  return { address: `${address} ${Buffer.from(cert).toString("base64")}`, close: () => server.close() };
}

function benchClient(channel: Channel, closeServer?: () => Promise<void>): BenchClient {
  const stub = channel.client(BenchDefinition);
  return {
    ...callsOf(stub),
    unary(option): EchoCall {
      switch (option) {
        case undefined:
          return (body) => stub.unary({ body });
        case "deadline":
          return (body) => stub.unary({ body }, { timeoutMs: 10_000 });
        case "metadata": {
          const { unary } = channel.client(MetadataDefinition);
          let calls = 0;
          return (body) =>
            unary(
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
    async close() {
      await channel.close();
      await closeServer?.();
    },
  };
}

function syncClient(address: string): BenchClient {
  const stub = createSyncClient(BenchDefinition, address);
  const unarySync = (body: Uint8Array) => stub.unary({ body });
  return {
    unarySync,
    unary: () => async (body) => unarySync(body),
    async close() {
      stub.close();
    },
  };
}

const FRAME_HEADER_BYTES = 12;

/** Send a frame with this body, over a connection without a session. */
function sendFrame(connection: Connection, body: Uint8Array): void {
  const bytes = FRAME_HEADER_BYTES + body.length;
  if (!connection.reserve(bytes)) throw new Error("the connection has no room for the frames under way");
  const { memory, rangeStart } = connection;
  new DataView(memory.buffer, memory.byteOffset + rangeStart).setUint32(0, body.length, true);
  memory.set(body, rangeStart + FRAME_HEADER_BYTES);
  connection.commit(bytes);
}

function ringTransport() {
  return transports.find(({ scheme }) => scheme === "shm")!;
}

/** Frames without calls: what the rings themselves can do. */
async function serveFrames(address: string): Promise<BenchServer> {
  const accept = (connection: Connection) =>
    connection.start({
      onFrame: (memory, start, end) =>
        sendFrame(connection, memory.subarray(start + FRAME_HEADER_BYTES, end)),
      onWritable() {},
      onClose() {},
    });
  return ringTransport().listen(address, accept, {});
}

function connectFrames(address: string): Promise<BenchClient> {
  return echoClient(async (receive, fail) => {
    const connection = await ringTransport().connect(address, {});
    let closing = false;
    connection.start({
      onFrame: (memory, start, end) => receive(memory.subarray(start + FRAME_HEADER_BYTES, end)),
      onWritable() {},
      onClose(error) {
        if (!closing) fail(error ?? new Error("the server closed the connection"));
      },
    });
    return {
      send(body, times) {
        for (let sent = 0; sent < times; sent++) sendFrame(connection, body);
      },
      async close() {
        closing = true;
        connection.close();
      },
    };
  });
}

const METADATA_NAMES = ["x-request-id", "x-tenant", "x-client", "accept-language", "x-trace-bin"];
/** Made before they are needed: V8 remembers the texts of numbers, which costs more than sending them. */
const REQUEST_IDS = Array.from({ length: 4096 }, (_, index) => String(100_000 + index));
const TRACE = new Uint8Array(16).fill(7);
