/** What is peculiar to `mq:` beside the contract. */
import { execFileSync, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { expect } from "chai";
import { Status, type Connection, type Listener } from "@sluice/core";
import { native } from "@sluice/native";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { describeQueues } from "./queue-suite.js";
import { refusal } from "./refusal.js";
import { describeNative } from "./variants.js";

const nobody = { onMessages() {}, onRoom() {}, onError() {} };
const python = spawnSync("python3", ["--version"]).status === 0;
const isRoot = process.geteuid!() === 0;
const STRANGER = 65534;

/** A queue of this mode, which this process does not hold. */
function make(name: string, mode: number, uid = process.geteuid!()): void {
  const code = `
import ctypes, os, sys
os.setuid(${uid}); os.umask(0)
libc = ctypes.CDLL(None)
if libc.mq_open(b"${name}", os.O_CREAT | os.O_EXCL | os.O_RDWR, ${mode}, None) == -1: sys.exit(1)`;
  execFileSync("python3", ["-c", code]);
}

function unlink(name: string): void {
  execFileSync("python3", ["-c", `import ctypes; ctypes.CDLL(None).mq_unlink(b"${name}")`]);
}

describeNative("mq", ({ mq }) => {
  const address = (): string => `mq:/sluice-test-${randomUUID()}`;
  const nameOf = (at: string): string => at.slice("mq:".length);

  describeQueues({
    scheme: "mq",
    transport: mq,
    address,
    open: (at) => new native!.PosixQueue(nameOf(at), nobody),
    makeReply(handler) {
      const reference = `/sluice-${randomUUID()}`;
      const size = { messages: 8, messageBytes: 2048 };
      return { queue: new native!.PosixQueue(reference, handler, size), reference };
    },
    enter: (at) => new native!.PosixQueue(nameOf(at), nobody),
    strangeReplies: ["/sluice-none", `/sluice-${randomUUID()}`, "/../sluice"],
    manyClients: 12,
  });

  describe("limits", () => {
    it("are named with the remedy when a queue cannot be made", async () => {
      const options = { messages: 65_536, messageBytes: 65_536 };
      for (const attempt of [mq.listen(address(), () => {}, options)]) {
        const error = await refusal(attempt, Status.RESOURCE_EXHAUSTED);
        expect(error.message).to.match(/RLIMIT_MSGQUEUE.*ulimit -q|fs\.mqueue\.msg_max.*sysctl/);
      }
    });

    it("of the user's queues are named, by what they are here", () => {
      const code = `
        import { mq } from ${JSON.stringify(import.meta.resolve("@sluice/transports"))};
        await mq.listen("${address()}", () => {}, {}).catch((error) => console.log(error.codeName, error.message));`;
      const command = `ulimit -q 1000; exec "$0" --input-type=module --eval "$1"`;
      const output = execFileSync("bash", ["-c", command, process.execPath, code], { encoding: "utf8" });
      expect(output).to.match(/^RESOURCE_EXHAUSTED .*1000 bytes in all \(RLIMIT_MSGQUEUE\)/);
    });

    it("are kept to by options", async () => {
      for (const [option, value] of [
        ["messages", 3],
        ["messages", "8"],
        ["messageBytes", 255],
        ["messageBytes", 65_537],
      ] as const) {
        const error = await refusal(
          mq.listen(address(), () => {}, { [option]: value }),
          Status.INVALID_ARGUMENT,
        );
        expect(error.message).to.contain(`option ${option}`);
      }
    });
  });

  describe("queues of other sizes", () => {
    let listener: Listener | undefined;
    let ends: Connection[] = [];
    afterEach(async () => {
      for (const end of ends) end.destroy();
      ends = [];
      await listener?.close();
    });

    it("carry frames of every size", async () => {
      const at = address();
      let far: Endpoint | undefined;
      listener = await mq.listen(
        at,
        (connection) => {
          ends.push(connection);
          far = new Endpoint(connection);
          far.consume = (memory, start, end) => expect(far!.send(memory.slice(start, end))).to.equal(true);
          far.start();
        },
        { messages: 4, messageBytes: 256 },
      );
      const connection = await mq.connect(at, { messages: 5, messageBytes: 1000 });
      ends.push(connection);
      const near = new Endpoint(connection).start();
      for (const [index, size] of [12, 239, 240, 241, 1000, 65_000].entries()) {
        near.send(makeFrame(index, size));
        await near.received(index + 1);
        expect(near.frames[index]).to.deep.equal(makeFrame(index, size));
      }
    });
  });

  (python ? describe : describe.skip)("a queue that is there already", () => {
    let at: string;
    beforeEach(() => {
      at = address();
    });
    afterEach(() => unlink(nameOf(at)));

    it("and can be used by others is not sent to", async () => {
      make(nameOf(at), 0o666);
      const error = await refusal(mq.connect(at, {}), Status.PERMISSION_DENIED);
      expect(error.message).to.contain("can be used by others (mode 0666)");
    });

    (isRoot ? it : it.skip)("and is another user's is neither sent to nor removed", async () => {
      make(nameOf(at), 0o666, STRANGER);
      const connecting = await refusal(mq.connect(at, {}), Status.PERMISSION_DENIED);
      expect(connecting.message).to.contain(`uid ${STRANGER}`);
      await refusal(
        mq.listen(at, () => {}, {}),
        Status.PERMISSION_DENIED,
      );
      new native!.PosixQueue(nameOf(at), nobody).close();
    });
  });
});
