import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { expect } from "chai";
import type { MessageQueue, QueueHandler, SystemError } from "@sluice/native";
import { native, needsAddon, openDescriptors, program, runProgram, turn } from "./support.js";

const NAME = `/sluice-native-${process.pid}`;
const SIZE = { messages: 4, messageBytes: 1024 };

/** What a queue tells. */
class Told implements QueueHandler {
  readonly messages: string[] = [];
  rooms = 0;
  readonly errors: SystemError[] = [];
  whenTold: (() => void) | undefined;

  onMessages(end: number): void {
    const memory = Buffer.from(native.readSlab.buffer, native.readSlab.byteOffset, end);
    for (let at = 0; at < end;) {
      const start = at + 4;
      at = start + memory.readUInt32LE(at);
      this.messages.push(memory.toString("latin1", start, at));
    }
    this.whenTold?.();
  }

  onRoom(): void {
    this.rooms++;
  }

  onError(error: SystemError): void {
    this.errors.push(error);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await turn();
  }
}

interface Kind {
  readonly name: string;
  /** A queue that this process receives from, and how others open it. */
  make(told: Told): { readonly queue: MessageQueue; readonly reference: string };
  open(reference: string, told: Told): MessageQueue;
}

const kinds: readonly Kind[] = [
  {
    name: "a POSIX queue",
    make(told) {
      const reference = `/sluice-native-${randomUUID()}`;
      return { queue: new native.PosixQueue(reference, told, SIZE), reference };
    },
    open: (reference, told) => new native.PosixQueue(reference, told),
  },
  {
    name: "a System V queue",
    make(told) {
      const queue = new native.SysvQueue({}, told);
      return { queue, reference: String(queue.id) };
    },
    open: (reference, told) => new native.SysvQueue({ id: Number(reference) }, told),
  },
];

/** Threads of this process. */
const threads = (): number => readdirSync("/proc/self/task").length;

describe("message queues", function () {
  needsAddon(this);

  for (const { name, make, open } of kinds) {
    describe(name, () => {
      let told: Told;
      let own: MessageQueue;
      let reference: string;
      let sender: Told;
      let other: MessageQueue;
      let descriptors: ReturnType<typeof openDescriptors>;
      let running: number;

      beforeEach(() => {
        descriptors = openDescriptors();
        running = threads();
        told = new Told();
        sender = new Told();
        ({ queue: own, reference } = make(told));
        other = open(reference, sender);
      });

      afterEach(async () => {
        own.close();
        other.close();
        own.close();
        await turn();
        expect(openDescriptors()).to.deep.equal(descriptors);
        // A worker's thread ends a moment after its exit is told.
        while (threads() > running) await turn();
      });

      it("carries messages in order, each of a header and what is behind it", async () => {
        own.start();
        const memory = Buffer.from("0123456789");
        for (let count = 0; count < 100; count++) {
          while (!other.send(Buffer.from(`${count}:`), memory, 3, 3 + (count % 5))) await turn();
        }
        while (!other.send(Buffer.from("alone"))) await turn();
        await told.until(() => told.messages.length === 101);
        const expected = Array.from({ length: 100 }, (_, count) => `${count}:${"34567".slice(0, count % 5)}`);
        expect(told.messages).to.deep.equal([...expected, "alone"]);
      });

      it("says when it is full, and tells once when there is room again", async () => {
        let sent = 0;
        while (other.send(Buffer.alloc(1000))) sent++;
        expect(sent).to.be.above(0);
        other.awaitRoom();
        own.start();
        await told.until(() => told.messages.length === sent && sender.rooms === 1);
        expect(other.send(Buffer.alloc(1000))).to.equal(true);
        await told.until(() => told.messages.length === sent + 1);
        expect(sender.rooms).to.equal(1);
      });

      it("may be closed by whom it tells", async () => {
        own.start();
        told.whenTold = () => own.close();
        other.send(Buffer.from("x"));
        await told.until(() => told.messages.length > 0);
        expect(() => own.send(Buffer.from("x"))).to.throw(TypeError, "the queue is closed");
      });

      it("does not take what is no message", () => {
        for (const wrong of [undefined, "text", new Uint16Array(3), {}]) {
          expect(() => other.send(wrong as Uint8Array)).to.throw(TypeError, "Uint8Array");
        }
        expect(() => other.send(Buffer.alloc(1), Buffer.alloc(4), 2, 5)).to.throw(TypeError, "end");
        expect(() => other.send(Buffer.alloc(1), Buffer.alloc(4), -1, 2)).to.throw(TypeError, "start");
      });

      it("sends its last words when its worker ends, however it does", async () => {
        own.start();
        for (const how of ["terminate", "exit", "return"]) {
          const worker = new Worker(program("queue-worker"), { argv: [reference, how] });
          const exited = once(worker, "exit");
          await told.until(() => told.messages.includes("ready"));
          if (how === "terminate") await worker.terminate();
          await exited;
          await told.until(() => told.messages.includes("last words"));
          expect(told.messages).to.deep.equal(["ready", "last words"]);
          told.messages.length = 0;
        }
      });
    });
  }

  it("of a kind or size that cannot be are refused", () => {
    const handler = new Told();
    expect(() => new native.PosixQueue("/x", {} as QueueHandler)).to.throw(TypeError, "onMessages");
    expect(() => new native.PosixQueue("/x", handler, { messages: 0, messageBytes: 1 })).to.throw("messages");
    expect(() => new native.PosixQueue("/x", handler, { messages: 1, messageBytes: 1 << 20 })).to.throw(
      "messageBytes",
    );
    expect(() => new native.PosixQueue(NAME, handler)).to.throw(/ENOENT.*sluice-native/);
    expect(() => new native.PosixQueue("no slash", handler)).to.throw(/mq_open/);
    expect(() => new native.SysvQueue({ key: 0 }, handler)).to.throw(TypeError, "0 is no key");
    expect(() => new native.SysvQueue({ id: 0x7fff_ffff }, handler)).to.throw(/EINVAL/);
  });

  it("are removed when their process exits", async () => {
    const name = `/sluice-native-${randomUUID()}`;
    const { code, stdout } = await runProgram("queues-open", [name]);
    expect(code).to.equal(0);
    expect(() => new native.PosixQueue(name, new Told())).to.throw(/ENOENT/);
    const left = readFileSync("/proc/sysvipc/msg", "utf8").split("\n");
    expect(left.filter((line) => line.trim().split(/\s+/)[1] === stdout.trim())).to.deep.equal([]);
  });

  it("a process that is watched is told of when it ends, and one that is none is refused", async () => {
    let told = 0;
    const watch = new native.ProcessWatch(process.pid, { onExit: () => told++ });
    watch.close();
    watch.close();
    expect(() => new native.ProcessWatch(0x7fff_ffff, { onExit() {} })).to.throw(/ESRCH/);
    expect(() => new native.ProcessWatch(0, { onExit() {} })).to.throw(TypeError, "pid");
    const { stdout } = await runProgram("process-watch");
    expect(stdout).to.equal("gone\n");
    expect(told).to.equal(0);
  });
});
