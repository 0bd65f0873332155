import type { Implementation, ServerPlace } from "../implementation.js";

export interface ImplementationEntry {
  /** The package whose version the results record; none for what Node itself or this repository's C++ brings. */
  readonly packageName?: string;
  /** What carries its calls, by the results' `transport`. */
  readonly transports: Readonly<Record<string, ServerPlace>>;
  /** Compiled before it runs, so that it needs no warm-up. */
  readonly compiled?: true;
  /** Only in the processes that run it: what is not installed, or does not run here, must not stop the others. */
  load(): Promise<Implementation>;
}

/** By the results' `implementation`. */
export const implementations: Readonly<Record<string, ImplementationEntry>> = {
  sluice: {
    packageName: "@sluice/node",
    transports: {
      memory: "by client",
      pipe: "by client",
      stdio: "by client",
      unix: "own process",
      tcp: "own process",
      tls: "own process",
      udp: "own process",
      "udp-secret": "own process",
      shm: "own process",
      "shm-nopoll": "own process",
      "unix-nopoll": "own process",
      "shm-sync": "own process",
      "shm-frames": "own process",
      "shm-lent": "own process",
      "mq-large": "own process",
      mmap: "own process",
      fifo: "own process",
      mq: "own process",
      sysvmq: "own process",
      auto: "own process",
    },
    load: async () => (await import("./sluice.js")).sluice,
  },
  "c++": {
    compiled: true,
    transports: {
      "ring-polled": "by client",
      "ring-sleeping": "by client",
      "ring-each": "by client",
      unix: "by client",
      "unix-polled": "by client",
      "unix-kept": "by client",
      "unix-each": "by client",
      pipe: "by client",
      "pipe-polled": "by client",
      "pipe-kept": "by client",
      fifo: "by client",
      mq: "by client",
      sysvmq: "by client",
      tcp: "by client",
      udp: "by client",
      memcpy: "by client",
    },
    load: async () => (await import("./cpp.js")).cpp,
  },
  "grpc-js": {
    packageName: "@grpc/grpc-js",
    transports: { unix: "own process" },
    load: async () => (await import("./grpc-js.js")).grpcJs,
  },
  "nice-grpc": {
    packageName: "nice-grpc",
    transports: { unix: "own process" },
    load: async () => (await import("./nice-grpc.js")).niceGrpc,
  },
  "connect-node": {
    packageName: "@connectrpc/connect-node",
    transports: { unix: "own process" },
    load: async () => (await import("./connect-node.js")).connectNode,
  },
  "vscode-jsonrpc": {
    packageName: "vscode-jsonrpc",
    transports: { unix: "own process" },
    load: async () => (await import("./vscode-jsonrpc.js")).vscodeJsonrpc,
  },
  zeromq: {
    packageName: "zeromq",
    transports: { ipc: "own process" },
    load: async () => (await import("./zeromq.js")).zeromq,
  },
  capnweb: {
    packageName: "capnweb",
    transports: { websocket: "own process" },
    load: async () => (await import("./capnweb.js")).capnweb,
  },
  "process.send": {
    transports: { json: "by client", advanced: "by client" },
    load: async () => (await import("./process-send.js")).processSend,
  },
  MessagePort: {
    transports: { worker: "by client" },
    load: async () => (await import("./message-port.js")).messagePort,
  },
  "node:net": {
    transports: { unix: "own process" },
    load: async () => (await import("./node-net.js")).nodeNet,
  },
  "node:dgram": {
    transports: { udp: "own process" },
    load: async () => (await import("./node-dgram.js")).nodeDgram,
  },
  synckit: {
    packageName: "synckit",
    transports: { worker: "by client" },
    load: async () => (await import("./synckit.js")).synckit,
  },
};

/** Throws, naming all, if none has this name. */
export function findImplementation(name: string): ImplementationEntry {
  const found = implementations[name];
  if (found !== undefined) return found;
  throw new Error(
    `no implementation is called "${name}"; there are: ${Object.keys(implementations).join(", ")}`,
  );
}
