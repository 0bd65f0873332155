/** Peers by `shm:` and `mmap:` that keep to no rule of the ring: their connection ends, and no other is harmed. */
import { ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { connect, type Channel, type Client } from "@sluice/node";
import { native } from "../carriers.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition, type ReportResponse } from "../gen/sluice/testing/probe.js";
import { Child, descriptors } from "../processes.js";
import { SOON } from "../suite.js";
import { until, within } from "../within.js";
import { Flag, frame, hello, open, RawPeer, streamId, Type } from "./raw.js";
import {
  addon,
  ASLEEP_ON_SOCKET,
  BLOCKS,
  dial,
  Doorbell,
  controlPath,
  RingPeer,
  RingStream,
  Word,
} from "./ring.js";

const HOLD = "sluice.testing.Probe/Hold";
const PRODUCE = "sluice.testing.Probe/Produce";
const LEND = "sluice.testing.Lender/Return";
const EMPTY = "grpc.testing.TestService/EmptyCall";
const CONSUME = "sluice.testing.Probe/Consume";
/** The first fragment of a message of 64 bytes. */
const HALF = Buffer.from([64, 0, 0, 0, 1, 2]);
/** HoldRequest: the key "ring". */
const RING_KEY = Buffer.from([0x0a, 4, ...Buffer.from("ring")]);
/** ProduceRequest: endless messages of 16 KiB. */
const ENDLESS = Buffer.from([0x10, 0x80, 0x80, 0x01]);

const call = open(streamId(0), 0, EMPTY, Flag.LAST | Flag.MESSAGE);
const suite = native ? describe : describe.skip;

/** How many mappings of segments a process has. */
function mappings(pid: number): number {
  return (
    readFileSync(`/proc/${pid}/maps`, "latin1").match(/memfd:sluice|\/sluice-[0-9a-f]{32}|SYSV/g)?.length ?? 0
  );
}

/** A server, a good client of it, and what both have open before each test and must have again after it. */
class Victim {
  readonly #directory = mkdtempSync(join(tmpdir(), "sluice-"));
  address: string;
  server!: Child;
  channel!: Channel;
  probe!: Client<typeof ProbeDefinition>;
  before!: ReportResponse;
  #descriptors = 0;
  #mappings = 0;
  #stderr = "";

  constructor(
    scheme: "shm" | "mmap",
    readonly listenOptions: object,
  ) {
    this.address = `${scheme}:${this.path("server")}`;
  }

  path(name: string): string {
    return join(this.#directory, name);
  }

  async start(): Promise<void> {
    this.server = Child.run("server", [this.address, "{}", JSON.stringify(this.listenOptions)]);
    this.address = await this.server.line();
    this.channel = await connect(this.address);
    this.probe = this.channel.client(ProbeDefinition);
  }

  async begin(): Promise<void> {
    this.before = await within(SOON, this.probe.report({}), "a report");
    this.#stderr = this.server.stderr;
    this.#descriptors = descriptors(process.pid);
    this.#mappings = mappings(this.server.pid);
  }

  /** Every other client is served. */
  async serves(): Promise<void> {
    const others = this.channel.client(TestServiceDefinition);
    for (let i = 0; i < 3; i++) await within(SOON, others.emptyCall({}), "a call of another client");
  }

  /** That, and nothing of the hostile one is left. */
  async unharmed(): Promise<void> {
    await this.serves();
    await within(SOON, this.probe.settle({}), "the end of every handler");
    const { pid } = this.server;
    await until(
      SOON,
      () =>
        descriptors(pid) <= this.before.descriptors &&
        mappings(pid) <= this.#mappings &&
        descriptors(process.pid) <= this.#descriptors,
      () =>
        `${descriptors(pid)} descriptors in the server, ${this.before.descriptors} before; ${mappings(pid)} mappings, ` +
        `${this.#mappings} before; ${descriptors(process.pid)} descriptors here, ${this.#descriptors} before`,
    );
  }

  /** The server said why it closed a connection. */
  async said(what: RegExp): Promise<void> {
    const said = () => this.server.stderr.slice(this.#stderr.length);
    await until(
      SOON,
      () => what.test(said()),
      () => `the server to say ${what}; it said: ${said()}`,
    );
  }

  async stop(): Promise<void> {
    await within(SOON, this.channel.close(), "the channel's close");
    this.server.kill("SIGTERM");
    await within(SOON, this.server.exited, "the server's end");
    rmSync(this.#directory, { recursive: true });
  }
}

const KINDS = [
  { kind: "memfd", scheme: "shm", options: { segment: "memfd" } },
  { kind: "posix", scheme: "shm", options: { segment: "posix" } },
  { kind: "sysv", scheme: "shm", options: { segment: "sysv" } },
  { kind: "file", scheme: "mmap", options: {} },
] as const;

for (const { kind, scheme, options } of KINDS) {
  suite(`hostile peers by a segment of kind ${kind}`, () => {
    let victim: Victim;
    let rings: RingPeer[];
    before(async () => {
      victim = new Victim(scheme, options);
      await victim.start();
    });
    beforeEach(() => {
      rings = [];
      return victim.begin();
    });
    afterEach(async () => {
      for (const ring of rings) ring.close();
      await victim.unharmed();
    });
    after(() => victim.stop());

    async function mapped(): Promise<RingPeer> {
      const peer = await RingPeer.connect(victim.address);
      rings.push(peer);
      return peer;
    }

    /** A client that has been greeted, and the ring by which it speaks. */
    async function greeted(): Promise<{ peer: RawPeer; mapped: RingPeer }> {
      const ring = await mapped();
      const peer = new RawPeer(new RingStream(ring));
      peer.send(hello({ streamWindowBytes: 0x7fff_ffff, connectionWindowBytes: 0x7fff_ffff }));
      await peer.settle();
      return { peer, mapped: ring };
    }

    /** A client that reads nothing, and for which the server has more to say than there is room. */
    async function stuffed(): Promise<RingPeer> {
      const peer = await mapped();
      const endless = open(streamId(0), 0, PRODUCE, Flag.LAST | Flag.MESSAGE, ENDLESS);
      peer.send(hello({ streamWindowBytes: 0x7fff_ffff, connectionWindowBytes: 0x7fff_ffff }), endless);
      await until(
        SOON,
        () => peer.ring.load(Word.waiting(0)) !== 0,
        () => "the server to wait for room",
      );
      return peer;
    }

    /** The server has closed the connection. */
    function ended({ doorbell }: RingPeer): Promise<void> {
      const end = new Promise<void>((resolve) => {
        doorbell.onEnd = resolve;
        if (doorbell.ended) resolve();
      });
      return within(SOON, end, "the end of the connection");
    }

    const HEADS: readonly [name: string, head: (head: number, capacity: number) => number][] = [
      ["more than the ring holds", (head, capacity) => head + capacity + 8],
      ["half of all numbers", (head) => head + 0x8000_0000],
      ["less than before", (head) => head - 8],
      ["a part of the padding", (head) => head + 4],
      ["an odd number of bytes", (head) => head + 17],
    ];
    for (const [name, wrong] of HEADS) {
      it(`publishes ${name}`, async () => {
        const { peer, mapped } = await greeted();
        mapped.ring.store(Word.head(1), wrong(mapped.ring.head, mapped.ring.capacity));
        mapped.doorbell.ring();
        await within(SOON, peer.closed, "the end of the connection");
        await victim.said(/corrupted its ring: it has published \d+ bytes in a ring of \d+/);
      });
    }

    it("publishes half a frame", async () => {
      const { peer, mapped } = await greeted();
      mapped.send(frame({ type: Type.PING, payload: Buffer.alloc(8), length: 100 }));
      await within(SOON, peer.closed, "the end of the connection");
      await victim.said(/corrupted its ring: it has published 24 bytes of a frame of 112/);
    });

    it("publishes the header of a frame and nothing of it", async () => {
      const { peer, mapped } = await greeted();
      mapped.send(Buffer.alloc(8));
      await within(SOON, peer.closed, "the end of the connection");
      await victim.said(/corrupted its ring: it has published 8 bytes of a frame of 16/);
    });

    const TAILS: readonly [name: string, tail: (head: number, tail: number) => number][] = [
      ["what was never published", (head) => head + 8],
      ["a part of a frame's padding", (_, tail) => tail + 4],
      ["less than before", (_, tail) => tail - 8],
    ];
    for (const [name, wrong] of TAILS) {
      it(`takes ${name}`, async () => {
        const peer = await stuffed();
        peer.ring.store(Word.tail(0), wrong(peer.ring.load(Word.head(0)), peer.ring.tail));
        peer.doorbell.ring();
        await ended(peer);
        await victim.said(/corrupted its ring: it has taken bytes that were never published/);
      });
    }

    it("takes what was never published, which the server finds when it answers", async () => {
      const peer = await mapped();
      const { ring } = peer;
      // Thirteen messages of 16 KiB leave less room than a frame may take, but nobody waits for any.
      const request = Buffer.from([0x08, 13, 0x10, 0x80, 0x80, 0x01]);
      peer.send(hello(), open(streamId(0), 0, PRODUCE, Flag.LAST | Flag.MESSAGE, request));
      await until(
        SOON,
        () => ring.unread > 13 << 14,
        () => `13 messages; there are ${ring.unread} bytes`,
      );
      ring.store(Word.tail(0), ring.load(Word.head(0)) + 8);
      peer.send(open(streamId(1), 1, EMPTY, Flag.LAST | Flag.MESSAGE));
      await ended(peer);
      await victim.said(/corrupted its ring: it has taken bytes that were never published/);
    });

    it("raises a flag of no meaning while the server answers", async () => {
      const peer = await mapped();
      peer.send(hello(), open(streamId(0), 0, HOLD, Flag.LAST | Flag.MESSAGE, RING_KEY));
      await until(
        SOON,
        () => peer.ring.take()?.frame[8] === Type.HEADERS,
        () => "the running of the handler",
      );
      peer.ring.store(Word.sleeping(1), 77);
      await within(SOON, victim.probe.release([{ key: "ring" }]), "the release");
      await ended(peer);
      await victim.said(/cannot be woken: .*its sleeping flag is 77/);
    });

    it("raises a flag of no meaning while the server takes", async () => {
      const peer = await stuffed();
      const { ring } = peer;
      // The room for which the flag is looked at.
      ring.store(Word.waiting(1), 1);
      ring.store(Word.sleeping(1), 0xffff_ffff);
      ring.write(frame({ type: Type.PING, payload: Buffer.alloc(8) }));
      ring.publish();
      peer.doorbell.ring();
      await ended(peer);
      await victim.said(/cannot be woken: .*its sleeping flag is 4294967295/);
    });

    it("waits for more room than there can be, and is served all the same", async () => {
      const { peer, mapped } = await greeted();
      for (const wanted of [0xffff_ffff, 0x8000_0000, 1]) {
        mapped.ring.store(Word.waiting(1), wanted);
        await peer.settle();
      }
      expect(peer.goaway).to.equal(undefined);
    });

    it("writes to the words that are the server's own", async () => {
      const silent = await mapped();
      const { ring } = silent;
      silent.send(hello());
      await until(
        SOON,
        () => ring.unread > 0,
        () => "an answer to the HELLO",
      );
      for (const value of [0, 1, 2, 3, 0x7fff_ffff, 0xffff_ffff]) {
        for (const word of [
          Word.head(0),
          Word.tail(1),
          Word.waiting(0),
          Word.sleeping(0),
          Word.semaphore(0),
        ]) {
          const good = ring.load(word);
          ring.store(word, value);
          silent.doorbell.ring();
          await victim.serves();
          ring.store(word, good);
        }
      }
      const peer = new RawPeer(new RingStream(silent));
      await peer.settle();
    });

    if (kind === "memfd") describeBlocks();
    else {
      it("tells of a block where there are none", async () => {
        const { peer, mapped } = await greeted();
        mapped.ring.tellOfBlock(0, 100);
        mapped.ring.publish();
        mapped.doorbell.ring();
        await within(SOON, peer.closed, "the end of the connection");
        await victim.said(/a frame says 2147483648 bytes of payload/);
      });
    }

    function describeBlocks(): void {
      const LIES: readonly [name: string, block: number, bytes: number][] = [
        ["that does not exist", BLOCKS, 100],
        ["of the largest number", 0x7fff_ffff, 100],
        ["with less than a header", 0, 11],
        ["with nothing", 0, 0],
        ["with more than it holds", 0, 0x0012_0001],
        ["with the largest number of bytes", 0, 0xffff_ffff],
      ];
      for (const [name, block, bytes] of LIES) {
        it(`tells of a block ${name}`, async () => {
          const { peer, mapped } = await greeted();
          mapped.ring.tellOfBlock(block, bytes);
          mapped.ring.publish();
          mapped.doorbell.ring();
          await within(SOON, peer.closed, "the end of the connection");
          await victim.said(new RegExp(`published a frame of ${bytes} bytes in block ${block}`));
        });
      }

      /** A call whose message of 200,000 bytes is lent to its handler. */
      const lentCall = (slot: number): Buffer => {
        const body = Buffer.concat([Buffer.from([0x12, 0xc0, 0x9a, 0x0c]), Buffer.alloc(200_000, 7)]);
        return open(streamId(slot), 0, LEND, Flag.LAST | Flag.MESSAGE, body);
      };

      it("tells of a block that is lent already", async () => {
        const { peer, mapped } = await greeted();
        mapped.ring.writeBlock(0, lentCall(0));
        mapped.ring.tellOfBlock(0, 100);
        mapped.ring.publish();
        mapped.doorbell.ring();
        await within(SOON, peer.closed, "the end of the connection");
        await victim.said(/published a frame of 100 bytes in block 0/);
      });

      it("puts frames into blocks that break the wire's rules", async () => {
        for (const wrong of [
          frame({ type: 200, payload: Buffer.alloc(100_000) }),
          frame({ type: Type.PING, payload: Buffer.alloc(100_000) }),
          frame({
            type: Type.OPEN,
            stream: streamId(0),
            flags: Flag.METADATA | Flag.NAMED,
            payload: Buffer.alloc(100_000, 0xff),
          }),
          frame({ type: Type.DATA, stream: streamId(9), payload: Buffer.alloc(100_000) }),
          frame({ type: Type.PING, payload: Buffer.alloc(8), length: 100_000 }),
        ]) {
          const { peer, mapped } = await greeted();
          mapped.ring.writeBlock(3, wrong);
          mapped.ring.publish();
          mapped.doorbell.ring();
          await within(SOON, peer.closed, "the end of the connection");
          expect(peer.goaway).not.to.equal(undefined);
        }
      });

      it("changes the states of blocks at any time, and is served all the same", async () => {
        const { peer, mapped } = await greeted();
        for (const value of [0, 1, 2, 0xffff_ffff]) {
          for (let block = 0; block < 4; block++) {
            mapped.ring.store(Word.block(0, block), value);
            mapped.ring.store(Word.block(1, block), value);
          }
          await peer.settle();
        }
        expect(peer.goaway).to.equal(undefined);
      });

      it("vanishes while a handler has its bytes", async () => {
        const { mapped } = await greeted();
        mapped.ring.writeBlock(1, lentCall(0));
        mapped.ring.publish();
        mapped.doorbell.ring();
        mapped.close();
        await victim.serves();
      });
    }

    it("never rings", async () => {
      const peer = await mapped();
      await until(
        SOON,
        () => peer.ring.load(Word.sleeping(0)) !== 0,
        () => "the server to sleep",
      );
      // The flag is taken down too, so that nobody rings.
      peer.ring.write(hello());
      peer.ring.publish();
      expect(peer.ring.rouse()).to.equal(true);
      await victim.serves();
      peer.doorbell.ring();
      await until(
        SOON,
        () => peer.ring.unread > 0,
        () => "an answer to the HELLO, once it was told of",
      );
    });

    it("never reads", async () => {
      await stuffed();
      await victim.serves();
    });

    it("never reads, and then breaks a rule", async () => {
      const peer = await stuffed();
      peer.send(frame({ type: 77 }));
      await ended(peer);
      await victim.said(/unknown type 77/);
    });

    it("never hears its doorbell, which is full", async () => {
      const { mapped } = await greeted();
      const { ring } = mapped;
      // Its socket is open, and nobody reads it any more.
      const fd = mapped.doorbell.channel.detach();
      try {
        mapped.doorbell.channel.close();
        const bell = Buffer.from([0]);
        let frames = 0;
        ring.write(open(streamId(0), 0, PRODUCE, Flag.LAST | Flag.MESSAGE, Buffer.from([0x10, 1])));
        ring.publish();
        addon().blocking.write(fd, bell, 0, 1);
        const draining = async () => {
          while (frames < 3000) {
            const taken = ring.take();
            if (taken !== undefined) frames++;
            else {
              if (ring.load(Word.waiting(0)) !== 0) addon().blocking.write(fd, bell, 0, 1);
              await new Promise(setImmediate);
            }
            // Asleep again before every frame: each is one more bell.
            ring.store(Word.sleeping(1), 1);
          }
        };
        await within(SOON, draining(), "3000 frames");
        await victim.serves();
      } finally {
        addon().closeFd(fd);
      }
    });

    it("rings ten thousand times for nothing", async () => {
      const { peer, mapped } = await greeted();
      for (let i = 0; i < 100; i++) {
        mapped.doorbell.ring(100);
        await new Promise(setImmediate);
      }
      await peer.settle();
    });

    it("sends descriptors that nobody asked for", async () => {
      const { peer, mapped } = await greeted();
      const fds = Array.from({ length: 200 }, () => openSync("/dev/null", "r"));
      try {
        for (let i = 0; i < 20; i++) {
          mapped.doorbell.channel.sendDescriptors(Buffer.from([0]), fds);
          await peer.settle();
        }
      } finally {
        for (const fd of fds) addon().closeFd(fd);
      }
      const { descriptors: now } = await within(SOON, victim.probe.report({}), "a report");
      // This connection, and no more.
      expect(now).to.be.at.most(victim.before.descriptors + 1);
    });

    it("holds the segment after the connection has ended, and writes there", async () => {
      const { peer, mapped } = await greeted();
      mapped.send(frame({ type: 77 }));
      await ended(mapped);
      if (!mapped.ring.segment.buffer.byteLength) throw new Error("the segment is gone from here, too");
      mapped.ring.bytes.fill(0xff);
      await victim.serves();
      await victim.said(/unknown type 77/);
      peer.destroy();
    });

    if (kind === "posix" || kind === "file") {
      for (const [left, bytes] of [
        ["nothing", 0],
        ["the header", 4096],
        ["half a page of the first ring", 4096 + 2048],
      ] as const) {
        it(`truncates the segment to ${left} while the server reads`, async () => {
          const { mapped } = await greeted();
          const flood = Array.from({ length: 2000 }, () =>
            frame({ type: 200, flags: Flag.OPTIONAL, payload: Buffer.alloc(60) }),
          );
          mapped.send(...flood);
          ftruncateSync(mapped.fd, bytes);
          // There is more to read, be it that all of that was read before.
          mapped.ring.head += 1 << 16;
          mapped.ring.publish();
          mapped.doorbell.ring();
          await ended(mapped);
          await victim.said(/is gone in part: its file was truncated/);
        });
      }

      for (const bytes of [0, 4096]) {
        it(`truncates the segment to ${bytes} bytes while a call is in flight, which is answered later`, async () => {
          const peer = await mapped();
          peer.send(hello(), open(streamId(0), 0, HOLD, Flag.LAST | Flag.MESSAGE, RING_KEY));
          await until(
            SOON,
            () => peer.ring.take()?.frame[8] === Type.HEADERS,
            () => "the running of the handler",
          );
          ftruncateSync(peer.fd, bytes);
          // The server may have noticed by itself, and ended the call.
          await within(SOON, Promise.allSettled([victim.probe.release([{ key: "ring" }])]), "the release");
          await ended(peer);
          await victim.said(/is gone in part: its file was truncated/);
        });
      }
    }

    // What a peer that dies by kill -9 may have done last.
    const LAST_ACTS: readonly [name: string, act: (peer: RingPeer) => void][] = [
      ["nothing", () => {}],
      ["a part of a record", ({ ring }) => call.subarray(0, 20).copy(ring.bytes, ring.at(1, ring.head))],
      ["a record that it has not published", ({ ring }) => ring.write(call)],
      [
        "a record that it has published without a look at the flag",
        ({ ring }) => {
          ring.write(call);
          ring.publish();
        },
      ],
      [
        "a record for which the flag is down, and nobody was rung",
        ({ ring }) => {
          ring.write(call);
          ring.publish();
          ring.rouse();
        },
      ],
      [
        "the first half of a message",
        (peer) =>
          peer.send(
            open(streamId(0), 0, CONSUME),
            frame({ type: Type.DATA, stream: streamId(0), flags: Flag.MORE, payload: HALF }),
          ),
      ],
      [
        "the first half of a message, of which nobody was told",
        ({ ring }) => {
          ring.write(open(streamId(0), 0, CONSUME));
          ring.write(frame({ type: Type.DATA, stream: streamId(0), flags: Flag.MORE, payload: HALF }));
          ring.publish();
        },
      ],
      [
        "a call that is held, of which nobody was told",
        ({ ring }) => {
          ring.write(open(streamId(0), 0, HOLD, Flag.LAST | Flag.MESSAGE));
          ring.publish();
        },
      ],
      [
        "the beginning and the end of a call, of which nobody was told",
        ({ ring }) => {
          ring.write(open(streamId(0), 0, CONSUME));
          ring.write(frame({ type: Type.END, stream: streamId(0) }));
          ring.publish();
        },
      ],
      ["a wish for room", ({ ring }) => ring.store(Word.waiting(1), ring.capacity / 2)],
      ["the flag of its sleep", ({ ring }) => ring.store(Word.sleeping(1), 2)],
      [
        "room that it has made without a look at who waits for it",
        ({ ring }) => ring.store(Word.tail(0), ring.load(Word.head(0))),
      ],
    ];
    for (const [name, act] of LAST_ACTS) {
      it(`dies, and the last of it is ${name}`, async () => {
        const { mapped } = await greeted();
        act(mapped);
        // What the kernel does for a process that dies.
        mapped.close();
      });
    }

    it("dies with bells on their way in both directions", async () => {
      const peer = await mapped();
      const { ring } = peer;
      const fd = peer.doorbell.channel.detach();
      try {
        ring.store(Word.sleeping(1), ASLEEP_ON_SOCKET);
        ring.write(hello());
        ring.write(open(streamId(0), 0, CONSUME));
        ring.write(frame({ type: Type.PING, payload: Buffer.alloc(8) }));
        ring.publish();
        addon().blocking.write(fd, Buffer.from([0]), 0, 1);
        await until(
          SOON,
          () => ring.load(Word.sleeping(1)) === 0,
          () => "the server to ring",
        );
        await victim.server.freeze();
        addon().blocking.write(fd, Buffer.from([0]), 0, 1);
      } finally {
        // With what it has not read, it leaves an error for the server.
        addon().closeFd(fd);
        victim.server.thaw();
      }
    });

    it("connects and goes away at once, 200 times", async () => {
      for (let i = 0; i < 200; i++) addon().closeFd(await dial(controlPath(victim.address)));
    });

    it("goes away with the segment unread, 100 times", async () => {
      for (let i = 0; i < 100; i++) {
        const doorbell = new Doorbell(await dial(controlPath(victim.address)), 1);
        await doorbell.setup();
        doorbell.close();
      }
    });
  });
}
