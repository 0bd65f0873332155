/** Well-formed frames in numbers that no good client sends: memory stays bounded, and others are served meanwhile. */
import { expect } from "chai";
import { Status, type Client } from "@sluice/node";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition, type ReportResponse } from "../gen/sluice/testing/probe.js";
import { descriptors } from "../processes.js";
import { onEveryCarrier, sharedLink, SOON, WINDOWS } from "../suite.js";
import { until, within } from "../within.js";
import { Flag, frame, open, openAgain, part, RawPeer, streamId, Type, u32 } from "./raw.js";

const HOLD = "sluice.testing.Probe/Hold";
const CONSUME = "sluice.testing.Probe/Consume";
const PRODUCE = "sluice.testing.Probe/Produce";
const EMPTY = "grpc.testing.TestService/EmptyCall";

/** What a server may grow by under an attack: some windows and budgets, and what the engine has not given back. */
const GROWTH = 64 << 20;

onEveryCarrier(
  "floods",
  (carrier) => {
    const HANDSHAKE_MS = 1000;
    const link = sharedLink(carrier, {
      server: { limits: { ...WINDOWS.limits, handshakeTimeoutMs: HANDSHAKE_MS } },
    });
    let probe: Client<typeof ProbeDefinition>;
    let before: ReportResponse;
    let peers: RawPeer[];
    beforeEach(async () => {
      probe = link().channel.client(ProbeDefinition);
      before = await within(SOON, probe.report({}), "a report");
      peers = [];
    });
    afterEach(async () => {
      for (const peer of peers) peer.destroy();
      await within(SOON, probe.settle({}), "the end of every handler");
      const pid = link().server!.pid;
      await until(
        SOON,
        () => descriptors(pid) <= before.descriptors,
        () => `${descriptors(pid)} descriptors in the server, ${before.descriptors} before`,
      );
    });

    async function greet(): Promise<RawPeer> {
      const peer = await RawPeer.greet(link().address!);
      peers.push(peer);
      return peer;
    }

    async function expectUnharmed(growth = GROWTH): Promise<void> {
      for (let i = 0; i < 20; i++) {
        await within(
          SOON,
          link().channel.client(TestServiceDefinition).emptyCall({}),
          "a call of another client",
        );
      }
      const after = await within(SOON, probe.report({}), "a report");
      expect(Number(after.residentBytes - before.residentBytes), "growth of the server").to.be.below(growth);
    }

    const many = (count: number, make: (i: number) => Buffer) =>
      Array.from({ length: count }, (_, i) => make(i));
    const held = frame({ type: Type.DATA, stream: streamId(0), payload: Buffer.from([0x1a, 1, 0x77]) });

    it("empty messages count against the window too", async () => {
      const peer = await greet();
      const empty = frame({ type: Type.DATA, stream: streamId(0) });
      await peer.deliver(open(streamId(0), 0, CONSUME), held, ...many(50_000, () => empty));
      await within(SOON, peer.closed, "the end of the connection");
      expect(peer.goaway?.text).to.match(/window/);
      await expectUnharmed();
    });

    it("PINGs whose answers nobody reads", async () => {
      const peer = await greet();
      peer.pause();
      const ping = frame({ type: Type.PING, payload: Buffer.alloc(8) });
      for (let i = 0; i < 10; i++) await peer.deliver(...many(10_000, () => ping));
      await expectUnharmed();
    });

    it("calls whose answers nobody reads", async () => {
      const peer = await greet();
      peer.pause();
      const flags = Flag.LAST | Flag.MESSAGE;
      // The slots are free for the server only once its answers have left: then the next generation is refused.
      for (let generation = 1; generation <= 20; generation++) {
        peer.send(
          ...many(1000, (slot) =>
            generation === 1 && slot === 0
              ? open(streamId(0), 0, EMPTY, flags)
              : openAgain(streamId(slot, generation), 0, flags),
          ),
        );
      }
      await expectUnharmed();
    });

    it("calls opened and reset in quick succession (CVE-2023-44487)", async () => {
      const peer = await greet();
      const { started } = await within(SOON, probe.report({}), "a report");
      for (let generation = 1; generation <= 50; generation++) {
        peer.send(
          ...many(500, (slot) =>
            Buffer.concat([
              generation === 1 && slot === 0
                ? open(streamId(0), 0, HOLD, Flag.LAST | Flag.MESSAGE)
                : openAgain(streamId(slot, generation), 0, Flag.LAST | Flag.MESSAGE),
              frame({ type: Type.RESET, stream: streamId(slot, generation), aux: Status.CANCELLED }),
            ]),
          ),
        );
      }
      // What the peer has not heard the end of is not open any more: it must wait, or is refused.
      await peer.settled();
      const { running } = await within(SOON, probe.report({}), "a report");
      expect(running).to.be.at.most(2 * 1024);
      expect(Number((await probe.report({})).started - started)).to.be.at.most(25_000);
      await expectUnharmed();
    });

    it("more names of methods than there may be", async () => {
      const peer = await greet();
      for (let i = 0; i <= 4096; i += 512) {
        peer.send(
          ...many(512, (j) =>
            open(streamId(j, i / 512 + 1), i + j, `no.such.Service/${"x".repeat(480)}${i + j}`, Flag.LAST),
          ),
        );
        // Its slots are free again when the server has answered.
        if (i < 4096) await peer.settle();
      }
      await within(SOON, peer.closed, "the end of the connection");
      expect(peer.goaway?.text).to.match(/4096/);
      await expectUnharmed();
    });

    it("calls that hold as much metadata as they may", async () => {
      const peer = await greet();
      const value = Buffer.alloc(8000, 0x61);
      const metadata = part(
        Buffer.concat([Buffer.from([1, 0x61]), part(value), Buffer.from([1, 0x62]), part(value)]),
      );
      await peer.deliver(
        ...many(1000, (slot) =>
          slot === 0
            ? open(streamId(0), 0, CONSUME, Flag.METADATA, metadata)
            : openAgain(streamId(slot), 0, Flag.METADATA, metadata),
        ),
      );
      await peer.settle();
      expect((await within(SOON, probe.report({}), "a report")).running).to.equal(1000);
      await expectUnharmed();
    });

    it("large messages that are begun on every stream, and never finished, end their connection", async () => {
      const peer = await greet();
      const begun = Buffer.concat([u32(4 << 20), Buffer.alloc(16)]);
      await peer.deliver(
        ...many(1000, (slot) =>
          slot === 0
            ? open(streamId(0), 0, CONSUME, Flag.MESSAGE | Flag.MORE, begun)
            : openAgain(streamId(slot), 0, Flag.MESSAGE | Flag.MORE, begun),
        ),
      );
      await within(SOON, peer.closed, "the end of the connection");
      expect(peer.goaway?.text).to.contain("reassemblyBytes");
      await expectUnharmed();
    });

    it("a client with endless credit that does not read", async () => {
      const peer = await RawPeer.greet(link().address!, {
        streamWindowBytes: 0x7fff_ffff,
        connectionWindowBytes: 0x7fff_ffff,
      });
      peers.push(peer);
      peer.pause();
      // ProduceRequest: endless messages of 16 KiB.
      const request = Buffer.from([0x10, 0x80, 0x80, 0x01]);
      peer.send(
        ...many(50, (slot) =>
          slot === 0
            ? open(streamId(0), 0, PRODUCE, Flag.LAST | Flag.MESSAGE, request)
            : openAgain(streamId(slot), 0, Flag.LAST | Flag.MESSAGE, request),
        ),
      );
      const running = async () => {
        while ((await probe.report({})).running < 50);
      };
      await within(SOON, running(), "the beginning of every stream");
      await expectUnharmed();
      const { produced } = await within(SOON, probe.report({}), "a report");
      // Per stream what a session keeps unsent (256 KiB), and for all of them what the kernel's buffers take.
      expect(Number(produced - before.produced)).to.be.below(50 * 16 + 1000);
    });

    it("connections that say nothing, or half a word, are closed in time", async function () {
      if (carrier.fewConnections === true) this.skip();
      const silent = await Promise.all(Array.from({ length: 300 }, () => RawPeer.connect(link().address!)));
      peers.push(...silent);
      for (const [i, peer] of silent.entries()) if (i % 2 === 0) peer.send(Buffer.from("SLUI"));
      await expectUnharmed();
      await within(
        SOON,
        Promise.all(silent.map(({ closed }) => closed)),
        "the end of the silent connections",
      );
    });

    it("more silent connections than there may be push out the oldest", async function () {
      if (carrier.fewConnections === true) this.skip();
      this.timeout(60_000);
      const silent: RawPeer[] = [];
      for (let i = 0; i < 12; i++) {
        silent.push(
          ...(await Promise.all(Array.from({ length: 100 }, () => RawPeer.connect(link().address!)))),
        );
      }
      peers.push(...silent);
      // Of each of 1,024 TLS handshakes OpenSSL keeps some 50 KB.
      await expectUnharmed(carrier.name.startsWith("tls:") ? 2 * GROWTH : GROWTH);
      // A connection by FIFOs has two.
      const each = carrier.name === "fifo:" ? 2 : 1;
      expect(descriptors(link().server!.pid)).to.be.at.most(before.descriptors + each * 1024 + 16);
      await within(
        SOON,
        Promise.all(silent.map(({ closed }) => closed)),
        "the end of the silent connections",
      );
    });
  },
  ({ name }) => RawPeer.carriers.includes(name),
);
