/** What is peculiar to `sysvmq:` beside the contract. */
import { execFileSync, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { expect } from "chai";
import { Status, type Connection, type Listener } from "@sluice/core";
import { native } from "@sluice/native";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { describeQueues, run } from "./queue-suite.js";
import { refusal } from "./refusal.js";
import { describeNative } from "./variants.js";

const nobody = { onMessages() {}, onRoom() {}, onError() {} };
const python = spawnSync("python3", ["--version"]).status === 0;
const isRoot = process.geteuid!() === 0;
const STRANGER = 65534;

function make(key: number, mode: number, uid = process.geteuid!()): void {
  const code = `
import ctypes, os, sys
os.setuid(${uid})
if ctypes.CDLL(None).msgget(${key}, 0o3000 | ${mode}) == -1: sys.exit(1)`;
  execFileSync("python3", ["-c", code]);
}

/** The queues that a process has made or used last (proc_sysvipc_msg(5)). */
function queuesOf(pid: number): string[] {
  const lines = readFileSync("/proc/sysvipc/msg", "utf8").trim().split("\n").slice(1);
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[5] === String(pid) || fields[6] === String(pid))
    .map((fields) => fields[1]!);
}

describeNative("sysvmq", ({ sysvmq }) => {
  const address = (): string => `sysvmq:${randomInt(1, 2 ** 31)}`;
  const keyOf = (at: string): number => Number(at.slice("sysvmq:".length)) | 0;

  describeQueues({
    scheme: "sysvmq",
    transport: sysvmq,
    address,
    open: (at) => new native!.SysvQueue({ key: keyOf(at) }, nobody),
    makeReply(handler) {
      const queue = new native!.SysvQueue({}, handler);
      return { queue, reference: String(queue.id) };
    },
    enter: (_at, reference) => new native!.SysvQueue({ id: Number(reference) }, nobody),
    strangeReplies: ["2147483647", "-1", "1e3", "99999999999"],
    manyClients: 40,
  });

  describe("connections", () => {
    let at: string;
    let listener: Listener;
    let ends: Connection[] = [];

    beforeEach(async () => {
      at = address();
      listener = await sysvmq.listen(
        at,
        (connection) => {
          ends.push(connection);
          const far = new Endpoint(connection);
          far.consume = (memory, start, end) => expect(far.send(memory.slice(start, end))).to.equal(true);
          far.start();
        },
        {},
      );
    });

    afterEach(async () => {
      for (const end of ends) end.destroy();
      ends = [];
      await listener.close();
    });

    async function connect(): Promise<Endpoint> {
      const connection = await sysvmq.connect(at, {});
      ends.push(connection);
      return new Endpoint(connection).start();
    }

    it("know their peer by the kernel's word", async () => {
      const { connection } = await connect();
      expect(connection.peer).to.deep.equal({ address: at, uid: process.geteuid!(), pid: process.pid });
      expect(ends[0]!.peer).to.deep.equal(connection.peer);
    });

    it("are refused when there is no slot for another, and made when there is one again", async () => {
      const all: Endpoint[] = [];
      let error: Error | undefined;
      while (error === undefined) {
        await connect().then(
          (endpoint) => all.push(endpoint),
          (reason: Error) => (error = reason),
        );
      }
      await refusal(Promise.reject(error), Status.UNAVAILABLE);
      expect(error.message).to.contain("kernel.msgmnb").and.to.contain("raise it with sysctl");
      for (const [index, near] of all.entries()) {
        near.send(makeFrame(index, 500));
        await near.received(1);
      }
      all[0]!.close();
      await all[0]!.closed;
      const again = await connect();
      again.send(makeFrame(0, 100));
      await again.received(1);
    });

    it("leave no queue when they and the listener are closed", async () => {
      const before = queuesOf(process.pid);
      expect(before).to.have.length.at.least(2);
      const near = [await connect(), await connect()];
      expect(queuesOf(process.pid).length).to.equal(before.length + 2);
      near[0]!.close();
      near[1]!.destroy();
      await Promise.all(near.map((endpoint) => endpoint.closed));
      await listener.close();
      while (queuesOf(process.pid).length > before.length - 2)
        await new Promise((resolve) => setImmediate(resolve));
    });

    it("go on when somebody removes the queue of the key, and end when it is theirs", async () => {
      const remove = (which: { key: number } | { id: number }): void => {
        const queue = new native!.SysvQueue(which, nobody);
        queue.remove();
        queue.close();
      };
      const before = new Set(queuesOf(process.pid));
      const ones = [await connect(), await connect()];
      const clients = queuesOf(process.pid).filter((id) => !before.has(id));
      remove({ key: keyOf(at) });
      for (const near of ones) {
        near.send(makeFrame(0, 100));
        await near.received(1);
      }
      // One client's, which is nobody else's, and then the server's.
      remove({ id: Number(clients[0]) });
      await Promise.race(ones.map((near) => near.closed));
      expect(ones.filter((near) => near.closeCount === 0)).to.have.length(1);
      for (const id of queuesOf(process.pid)) if (before.has(id)) remove({ id: Number(id) });
      await Promise.all(ones.map((near) => near.closed));
    });
  });

  (python ? describe : describe.skip)("a queue that is there already", () => {
    let at: string;
    beforeEach(() => {
      at = address();
    });
    afterEach(() => {
      const queue = new native!.SysvQueue({ key: keyOf(at) }, nobody);
      queue.remove();
      queue.close();
    });

    it("and can be used by others is not sent to", async () => {
      make(keyOf(at), 0o666);
      const error = await refusal(sysvmq.connect(at, {}), Status.PERMISSION_DENIED);
      expect(error.message).to.contain("can be used by others (mode 0666)");
    });

    it("and was made a moment ago, perhaps by a server that is about to listen, is not removed", async () => {
      make(keyOf(at), 0o600);
      await refusal(
        sysvmq.listen(at, () => {}, {}),
        Status.ALREADY_EXISTS,
      );
    });

    (isRoot ? it : it.skip)("and is another user's is neither sent to nor removed", async () => {
      make(keyOf(at), 0o666, STRANGER);
      const connecting = await refusal(sysvmq.connect(at, {}), Status.PERMISSION_DENIED);
      expect(connecting.message).to.contain(`uid ${STRANGER}`);
      await refusal(
        sysvmq.listen(at, () => {}, {}),
        Status.PERMISSION_DENIED,
      );
    });
  });

  (isRoot ? it : it.skip)(
    "says so where no thread can be started to receive, and leaves nothing",
    async () => {
      const at = address();
      const child = run("sysvmq", "without-threads", at);
      const [[code], output] = await Promise.all([once(child, "close"), text(child.stdout!)]);
      const said = output.trim().split("\n");
      expect(said).to.have.length(2);
      for (const line of said) {
        expect(line)
          .to.match(/^cannot listen at sysvmq:/)
          .and.contain("no thread can be started");
      }
      // Nothing keeps it alive.
      expect(code).to.equal(0);
      expect(queuesOf(child.pid!)).to.deep.equal([]);
    },
  );
});
