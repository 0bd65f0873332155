/** What `mq:` and `sysvmq:` have in common beside the contract: their slots, what the dead leave, and hostile processes. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { expect } from "chai";
import { Status, type Connection, type Listener, type Transport, type TransportOptions } from "@sluice/core";
import { native, type MessageQueue, type QueueHandler } from "@sluice/native";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { nodeTransports } from "@sluice/transports";
import { refusal } from "./refusal.js";

const VERSION = 1;
const ANNOUNCE = 1;
const WELCOME = 2;
const DATA = 4;
const GRANT = 5;
const MAGIC = 0x514d4c53;

export interface QueueSubject {
  readonly scheme: "mq" | "sysvmq";
  readonly transport: Transport;
  /** An address that nobody uses. */
  address(): string;
  /** Opens the queue at which a server listens, to send to it. Throws if there is none. */
  open(address: string): MessageQueue;
  /** Makes a queue to be answered in. */
  makeReply(handler: QueueHandler): { readonly queue: MessageQueue; readonly reference: string };
  /** Opens what a server has told to send to. */
  enter(address: string, reference: string): MessageQueue;
  /** What no client's queue is called. */
  readonly strangeReplies: readonly string[];
  /** More clients than a queue has slots for what they send at once. */
  readonly manyClients: number;
}

/** A message as one end sends it to the other; `text` is behind the header. */
export function message(
  kind: number,
  { connection = 0, secret = 0, limit = 0, version = VERSION, words = [] as number[], text = "" } = {},
): Buffer {
  const bytes = Buffer.alloc(16 + 4 * words.length + Buffer.byteLength(text));
  bytes.writeUInt32LE(connection, 0);
  bytes.writeUInt32LE(secret, 4);
  bytes.writeUInt32LE(limit, 8);
  bytes.writeUInt8(kind, 14);
  bytes.writeUInt8(version, 15);
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, 16 + 4 * index);
  bytes.write(text, 16 + 4 * words.length);
  return bytes;
}

/** The number of this process's pid namespace. */
function pidNamespace(): number {
  return Number(/\d+/.exec(readlinkSync("/proc/self/ns/pid"))![0]);
}

/** Runs `program` (queue-program.ts) in another process. */
export function run(...args: string[]): ChildProcess {
  const path = fileURLToPath(new URL("queue-program.js", import.meta.url));
  return spawn(process.execPath, [path, ...args], { stdio: ["ignore", "pipe", "inherit"] });
}

async function line(child: ChildProcess): Promise<string> {
  const [text] = (await once(createInterface(child.stdout!), "line")) as [string];
  return text;
}

export function describeQueues(subject: QueueSubject): void {
  const { scheme, transport } = subject;
  let address: string;
  let listeners: Listener[] = [];
  let accepted: Endpoint[] = [];
  let connections: Connection[] = [];
  let raw: MessageQueue[] = [];
  let children: ChildProcess[] = [];

  beforeEach(() => {
    address = subject.address();
  });

  afterEach(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    for (const { connection } of accepted) connection.destroy();
    for (const connection of connections) connection.destroy();
    for (const queue of raw) queue.close();
    await Promise.all(listeners.map((listener) => listener.close()));
    listeners = [];
    accepted = [];
    connections = [];
    raw = [];
    children = [];
  });

  /** A server that gives each connection to `serve`, which sends every frame back by itself. */
  async function listen(serve: (endpoint: Endpoint) => void = echo): Promise<void> {
    const accept = (connection: Connection): void => {
      const endpoint = new Endpoint(connection);
      accepted.push(endpoint);
      serve(endpoint);
    };
    listeners.push(await transport.listen(address, accept, {}));
  }

  function echo(endpoint: Endpoint): void {
    const waiting: Uint8Array[] = [];
    const drain = (): void => {
      while (waiting.length > 0 && endpoint.send(waiting[0]!)) waiting.shift();
    };
    endpoint.consume = (memory, start, end) => {
      waiting.push(memory.slice(start, end));
      drain();
    };
    endpoint.whenWritable = drain;
    endpoint.start();
  }

  async function connect(options: TransportOptions = {}): Promise<Endpoint> {
    const connection = await transport.connect(address, options);
    connections.push(connection);
    return new Endpoint(connection);
  }

  async function echoes(endpoint?: Endpoint, count = 1, bytes = 100): Promise<void> {
    const near = endpoint ?? (await connect());
    const before = near.frameCount;
    if (!near.started) near.start();
    await near.sendAll(Array.from({ length: count }, (_, index) => makeFrame(index, bytes)));
    await near.received(before + count);
  }

  function open(): MessageQueue {
    const queue = subject.open(address);
    raw.push(queue);
    return queue;
  }

  function start(...args: string[]): ChildProcess {
    const child = run(scheme, ...args);
    children.push(child);
    return child;
  }

  describe("slots", () => {
    it("are enough for more clients than there are slots, all of which have much to send", async () => {
      await listen();
      const near = [];
      for (let i = 0; i < subject.manyClients; i++) near.push(await connect());
      await Promise.all(near.map((endpoint) => echoes(endpoint, 20, 3000)));
      await Promise.all(near.map((endpoint) => echoes(endpoint, 1, 60_000)));
    });

    it("of one client are not another's: one that does not read stops itself only", async () => {
      await listen();
      const deaf = await connect();
      const frame = makeFrame(0, 4096);
      // Until its own queue, its connection's memory at the server and its slots are full; it is never started.
      for (let idle = 0; idle < 5; idle++) {
        while (deaf.send(frame)) idle = 0;
        await setImmediate();
      }
      const other = await connect();
      await echoes(other, 200, 1000);
      deaf.start();
      await deaf.received(accepted[0]!.frameCount);
      await echoes(other);
    });

    it("are not given back for what a server's connection has not consumed", async () => {
      let first = true;
      await listen((endpoint) => {
        if (!first) return echo(endpoint);
        first = false;
      });
      const unheard = (await connect()).start();
      const frame = makeFrame(0, 1000);
      let sent = 0;
      for (let idle = 0; idle < 5; idle++) {
        for (; unheard.send(frame); sent++) idle = 0;
        await setImmediate();
      }
      await echoes(undefined, 100, 1000);
      accepted[0]!.consume = () => {};
      accepted[0]!.start();
      await accepted[0]!.received(sent);
    });

    it("that others have filled are waited for", async () => {
      await listen();
      const near = await connect();
      await echoes(near);
      const queue = open();
      while (queue.send(message(DATA)));
      await echoes(near, 10, 5000);
      while (queue.send(message(DATA)));
      await echoes();
    });
  });

  describe("the dead", () => {
    const gone = (): void => {
      expect(() => open(), "the server's queue").to.throw(/ENOENT/);
    };

    it("server's queue is removed by its clients, who learn of its death", async () => {
      const server = start("listen", address);
      await line(server);
      const near = [await connect(), await connect()];
      for (const endpoint of near) endpoint.start();
      server.kill("SIGKILL");
      await Promise.all(near.map((endpoint) => endpoint.closed));
      gone();
    });

    it("server's queue is removed by who connects next, or taken over by who listens", async () => {
      for (const next of ["connect", "listen"]) {
        const server = start("listen", address);
        await line(server);
        server.kill("SIGKILL");
        await once(server, "exit");
        open();
        if (next === "connect") {
          const error = await refusal(connect(), Status.UNAVAILABLE);
          expect(error.message).to.contain(address).and.to.contain("nobody listens");
          gone();
        } else {
          await listen();
          await echoes();
        }
      }
    });

    it("server is succeeded by one of many", async () => {
      const server = start("listen", address);
      await line(server);
      server.kill("SIGKILL");
      await once(server, "exit");
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => listen()));
      expect(outcomes.filter(({ status }) => status === "fulfilled")).to.have.length(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected")
          await refusal(Promise.reject(outcome.reason), Status.ALREADY_EXISTS);
      }
      await echoes();
    });

    it("client's connection ends", async () => {
      await listen();
      const client = start("connect", address);
      await line(client);
      while (accepted.length === 0) await setImmediate();
      client.kill("SIGKILL");
      await accepted[0]!.closed;
    });

    it("server that dies while one connects is noticed", async () => {
      const server = start("listen", address);
      await line(server);
      // The first loads the transport; the second announces itself in the turn in which it is asked to connect.
      (await connect()).destroy();
      server.kill("SIGSTOP");
      const connecting = refusal(connect(), Status.UNAVAILABLE);
      await setImmediate();
      server.kill("SIGKILL");
      expect((await connecting).message).to.contain("has ended");
      gone();
    });

    it("worker's connection ends, in a process that lives on", async () => {
      await listen();
      const worker = new Worker(new URL("queue-program.js", import.meta.url), {
        argv: [scheme, "connect", address],
        stdout: true,
      });
      while (accepted.length === 0) await setImmediate();
      await worker.terminate();
      await accepted[0]!.closed;
      await echoes();
    });
  });

  it("what was sent before process.exit arrives", async () => {
    await listen((endpoint) => void endpoint.start());
    // Its end may be told of before that of the connection.
    const exited = once(start("exit", address), "exit");
    while (accepted.length === 0) await setImmediate();
    await accepted[0]!.closed;
    expect(accepted[0]!.frames).to.deep.equal([makeFrame(0, 100), makeFrame(1, 200)]);
    await exited;
  });

  it("a server that exits leaves nothing", async () => {
    const server = start("listen-exit", address);
    await once(server, "exit");
    expect(() => open()).to.throw(/ENOENT/);
  });

  describe("a hostile process", () => {
    beforeEach(() => listen());

    it("that sends what is no message, or none of this version, is not heard", async () => {
      const queue = open();
      const near = await connect();
      for (const bytes of [
        Buffer.alloc(0),
        Buffer.alloc(15),
        Buffer.alloc(16),
        Buffer.alloc(1000, 0xff),
        message(DATA, { version: 2 }),
        message(99),
        message(ANNOUNCE),
        message(ANNOUNCE, { words: [MAGIC, 1] }),
        message(ANNOUNCE, { words: [MAGIC + 1, process.pid, 0], text: subject.strangeReplies[0]! }),
      ]) {
        while (!queue.send(bytes)) await setImmediate();
      }
      await echoes(near, 10);
      await echoes();
      expect(accepted).to.have.length(2);
    });

    it("that announces what is no client's queue is not answered", async () => {
      const queue = open();
      for (const text of ["", "/", "../x", "a".repeat(200), "\0", ...subject.strangeReplies]) {
        const announcement = message(ANNOUNCE, { limit: 6, words: [MAGIC, process.pid, 0], text });
        while (!queue.send(announcement)) await setImmediate();
      }
      await echoes();
      expect(accepted).to.have.length(1);
    });

    it("that sends more than it was granted is cut off, and others are not", async () => {
      const near = await connect();
      await echoes(near);
      const welcomed = new Promise<Buffer>((resolve) => {
        const { queue, reference } = subject.makeReply({
          onMessages: (end) => resolve(Buffer.from(native!.readSlab.slice(4, end))),
          onRoom() {},
          onError() {},
        });
        raw.push(queue);
        queue.start();
        const words = [MAGIC, process.pid, pidNamespace()];
        const announcement = message(ANNOUNCE, { secret: 7, limit: 4, words, text: reference });
        expect(open().send(announcement)).to.equal(true);
      });
      const welcome = await welcomed;
      expect(welcome.readUInt32LE(4), "the secret").to.equal(7);
      expect(welcome.readUInt8(14), "the kind").to.equal(WELCOME);
      const to = { connection: welcome.readUInt32LE(28), secret: welcome.readUInt32LE(32) };
      const queue = subject.enter(address, welcome.toString("utf8", 36));
      raw.push(queue);
      while (!queue.send(message(GRANT, { ...to, limit: 4 }))) await setImmediate();
      while (accepted.length < 2) await setImmediate();
      // A frame that is never finished, and no word of what else there is to send.
      const frame = Buffer.alloc(12);
      frame.writeUInt32LE(60_000);
      queue.send(message(DATA, { ...to, text: frame.toString("latin1") }));
      const more = message(DATA, { ...to, text: "x".repeat(100) });
      while (accepted[1]!.closeCount === 0) {
        while (queue.send(more));
        await setImmediate();
      }
      expect((await accepted[1]!.closed)?.message).to.contain("more than it was granted");
      await echoes(near, 10);
    });

    it("that says it is another connection is not heard", async () => {
      const near = await connect();
      await echoes(near);
      const queue = open();
      for (let connection = 1; connection < 10; connection++) {
        for (const kind of [4, 5, 6, 7]) {
          const forged = message(kind, { connection, secret: 1, limit: 1000, text: "x".repeat(50) });
          while (!queue.send(forged)) await setImmediate();
        }
      }
      await echoes(near, 10);
    });
  });

  it("refuses options that cannot be", async () => {
    for (const allowPeer of ["any", () => true]) {
      for (const attempt of [
        transport.connect(address, { allowPeer }),
        transport.listen(address, () => {}, { allowPeer }),
      ]) {
        expect((await refusal(attempt, Status.INVALID_ARGUMENT)).message).to.contain("allowPeer");
      }
    }
  });

  it("says that it needs the addon", async () => {
    for (const attempt of [
      nodeTransports[scheme].connect(address, {}),
      nodeTransports[scheme].listen(address, () => {}, {}),
    ]) {
      expect((await refusal(attempt, Status.UNIMPLEMENTED)).message).to.contain("@sluice/native");
    }
  });
}
