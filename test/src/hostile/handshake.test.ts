/** Servers whose first message by `shm:` is wrong: the client says what was wrong, and keeps nothing of it. */
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect } from "chai";
import { connect, Status } from "@sluice/node";
import type { Segment } from "@sluice/native";
import { native } from "../carriers.js";
import { descriptors, programPath } from "../processes.js";
import { failure, SOON } from "../suite.js";
import { until, within } from "../within.js";
import { u32 } from "./raw.js";
import { addon, Doorbell, SEGMENT_MAGIC, SEGMENT_VERSION } from "./ring.js";

const CAPACITY = 64 << 10;
const MEMFD = 1;
const POSIX = 2;
const SYSV = 3;
const FILE = 4;

function message(
  kind: number,
  capacity = CAPACITY,
  magic = SEGMENT_MAGIC,
  version = SEGMENT_VERSION,
  id = 0,
  block = 0,
): Buffer {
  return Buffer.concat([magic, version, kind, capacity, id, block].map(u32));
}

/** What the server sends, with a descriptor of `segment`, of another kind of file, or with none. */
const LIES: readonly [name: string, send: (bell: Doorbell, segment: Segment) => void, says: RegExp][] = [
  [
    "another magic",
    (bell, { handle }) => bell.channel.sendDescriptors(message(MEMFD, CAPACITY, 7), [handle]),
    /no server of shared memory/,
  ],
  [
    "another version",
    (bell, { handle }) => bell.channel.sendDescriptors(message(MEMFD, CAPACITY, SEGMENT_MAGIC, 9), [handle]),
    /version 9/,
  ],
  [
    "an unknown kind",
    (bell, { handle }) => bell.channel.sendDescriptors(message(77), [handle]),
    /unknown kind \(77\)/,
  ],
  ["no descriptor", (bell) => bell.write(message(MEMFD)), /no descriptor/],
  [
    "two descriptors",
    (bell, { handle }) => bell.channel.sendDescriptors(message(MEMFD), [handle, handle]),
    /EPROTO/,
  ],
  [
    "another capacity than the segment's",
    (bell, { handle }) => bell.channel.sendDescriptors(message(MEMFD, 2 * CAPACITY), [handle]),
    /bytes instead of/,
  ],
  [
    "a capacity that is no power of two",
    (bell, { handle }) => bell.channel.sendDescriptors(message(MEMFD, CAPACITY + 8), [handle]),
    /power of two/,
  ],
  [
    "a capacity without room for a frame",
    (bell, { handle }) => bell.channel.sendDescriptors(message(MEMFD, 4096), [handle]),
    /65536 at least/,
  ],
  [
    "a capacity of 4 GiB",
    (bell, { handle }) => bell.channel.sendDescriptors(message(MEMFD, 0xffff_ffff), [handle]),
    /capacity/,
  ],
  [
    "a System V segment that there is not",
    (bell) => bell.write(message(SYSV, CAPACITY, SEGMENT_MAGIC, SEGMENT_VERSION, 0x7fff_ffff)),
    /shmctl/,
  ],
  [
    "a segment that does not say what it is",
    (bell, segment) => {
      new Int32Array(segment.buffer)[0] = 0;
      bell.channel.sendDescriptors(message(MEMFD), [segment.handle]);
    },
    /does not begin with SLGR/,
  ],
  ...([MEMFD, POSIX, FILE] as const).map(
    (kind) =>
      [
        `a device as kind ${kind}`,
        (bell: Doorbell) => {
          const fd = openSync("/dev/null", "r+");
          bell.channel.sendDescriptors(message(kind), [fd]);
          closeSync(fd);
        },
        /not a memfd|not a regular file/,
      ] as [string, (bell: Doorbell) => void, RegExp],
  ),
  [
    "half a message and its end",
    (bell) => (bell.write(message(MEMFD).subarray(0, 10)), bell.channel.shutdownWrite()),
    /closed the connection before it sent/,
  ],
  [
    "a refusal",
    (bell) => bell.write(Buffer.concat([message(0, 5), Buffer.from("sorry")])),
    /could not make a segment: sorry/,
  ],
];

(native ? describe : describe.skip)("servers of shm: that lie in their first message", () => {
  /** What a client in a thread of its own, blocked meanwhile, says of the server. */
  async function block(address: string): Promise<string> {
    const workerData = {
      address,
      method: "echo",
      request: { index: 0, body: new Uint8Array(1), hold: "" },
      options: {},
    };
    const worker = new Worker(programPath("sync-call"), { workerData });
    try {
      return await new Promise((resolve, reject) => {
        worker.on("error", reject);
        worker.on("message", (said: string | { code: string; message: string }) => {
          if (typeof said === "string") return;
          expect(said.code).to.equal("UNAVAILABLE");
          resolve(said.message);
        });
      });
    } finally {
      await worker.terminate();
    }
  }

  for (const [name, send, says] of LIES) {
    it(name, async () => {
      const directory = mkdtempSync(join(tmpdir(), "sluice-"));
      const before = descriptors(process.pid);
      const segment = new (addon().Segment)("memfd", CAPACITY, 0);
      const bells: Doorbell[] = [];
      const handler = {
        onConnection(fd: number) {
          const bell = new Doorbell(fd, 0);
          bells.push(bell);
          send(bell, segment);
        },
        onError(error: Error) {
          throw error;
        },
      };
      const listener = new (addon().SocketListener)({ path: `${directory}/liar` }, handler);
      const error = await failure(connect(`shm:${directory}/liar`), Status.UNAVAILABLE);
      expect(error.message).to.match(says);
      const blocked = await within(SOON, block(`shm:${directory}/liar`), "the end of a blocking client");
      expect(blocked).to.match(says);
      listener.close();
      for (const bell of bells) bell.close();
      segment.close();
      await until(
        SOON,
        () => descriptors(process.pid) <= before,
        () => `${descriptors(process.pid)} descriptors, ${before} before`,
      );
      rmSync(directory, { recursive: true });
    });
  }

  it("a descriptor with each byte: a blocking client takes one, and refuses the next", () => {
    const [ours, theirs] = addon().socketPair();
    const null_ = openSync("/dev/null", "r");
    const channel = new (addon().ByteChannel)(theirs, theirs, {
      onRead: () => 0,
      onWritable() {},
      onEnd() {},
      onError() {},
    });
    const before = descriptors(process.pid);
    const received: number[] = [];
    const bytes = new Uint8Array(8);
    channel.sendDescriptors(bytes.subarray(0, 1), [null_]);
    expect(addon().blocking.receiveDescriptor(ours, bytes, 0, undefined, received)).to.equal(1);
    channel.sendDescriptors(bytes.subarray(0, 1), [null_]);
    expect(() => addon().blocking.receiveDescriptor(ours, bytes, 1, undefined, received)).to.throw(/EPROTO/);
    expect(descriptors(process.pid)).to.equal(before + 1);
    for (const fd of [...received, ours]) addon().closeFd(fd);
    channel.close();
    closeSync(null_);
  });
});
