import { expect } from "chai";
import { makeFrame, Random } from "@sluice/transport-contract";
import { Chunk, NUMBER_AT, readU48, Type, writeU48 } from "#transports/udp/packet.js";
import { MAX_EARLY_RANGES, ReceiveBuffer } from "#transports/udp/receive-buffer.js";
import { measureCalls, measureGoodput } from "./goodput.js";
import { PERFECT } from "./network.js";
import { runSeed } from "./run.js";
import { World } from "./world.js";

const SEEDS = 1000;
/** In these, all that the passive end said of the connection's end is lost or late. */
const LOST_ENDS = [3111, 7376, 7561, 8068];

describe("udp, simulated", function () {
  this.timeout(120_000);

  it(`delivers every frame once and in order, or says that the peer is gone, in ${SEEDS} random networks`, async () => {
    const outcomes: Record<string, number> = {};
    let long = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { outcome, longest } = await runSeed(seed);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (longest > 1200) long++;
    }
    // Or else it tests nothing.
    expect(outcomes["complete"]).to.be.above(SEEDS / 4);
    expect(outcomes["declared dead"]).to.be.above(SEEDS / 10);
    expect(long, "with longer packets").to.be.above(SEEDS / 4);
  });

  for (const seed of LOST_ENDS) {
    it(`ends in order although the last packets are lost (seed ${seed})`, async () => {
      expect((await runSeed(seed, false)).outcome).to.equal("complete");
    });
  }

  it("carries at least 70 % of what Reno can over 20 ms and 2 % loss each way", async () => {
    const { megabitsPerSecond, boundMegabitsPerSecond } = await measureGoodput(0.02, 60, 1);
    expect(megabitsPerSecond).to.be.above(0.7 * boundMegabitsPerSecond);
  });

  it("fills a link that loses nothing", async () => {
    const { megabitsPerSecond, boundMegabitsPerSecond } = await measureGoodput(0, 20, 1);
    expect(megabitsPerSecond).to.be.above(0.9 * boundMegabitsPerSecond);
  });

  it("answers 99 of 100 small calls within 4 round trips at 2 % loss each way", async () => {
    const calls = await measureCalls(0.02, 2000, 1);
    expect(calls[Math.ceil(0.99 * calls.length) - 1]).to.be.below(4);
  });
});

describe("udp, bytes that came early and are dropped", function () {
  this.timeout(120_000);

  const add = Object.getOwnPropertyDescriptor(ReceiveBuffer.prototype, "add")!.value as ReceiveBuffer["add"];
  let dropped: number;
  let mostRanges: number;

  /** Counts what is dropped and kept; more is dropped than would be if there may not be more than `limit` ranges. */
  function watch(limit = Infinity): void {
    dropped = mostRanges = 0;
    ReceiveBuffer.prototype.add = function (start, memory, from, to, sink) {
      const taken =
        (start <= this.delivered || this.earlyRanges < limit) &&
        add.call(this, start, memory, from, to, sink);
      if (!taken) dropped++;
      mostRanges = Math.max(mostRanges, this.earlyRanges);
      return taken;
    };
  }

  afterEach(() => {
    ReceiveBuffer.prototype.add = add;
  });

  for (const limit of [0, 1, 3]) {
    it(`come again, in random networks, although no more than ${limit} ranges are kept`, async () => {
      watch(limit);
      let complete = 0;
      for (let seed = 1; seed <= 250; seed++) if ((await runSeed(seed)).outcome === "complete") complete++;
      expect(complete).to.be.above(250 / 4);
      expect(dropped).to.be.above(1000);
      expect(mostRanges).to.equal(limit);
    });
  }

  it("are those of an honest peer only when it loses every other one of thousands of packets, and come again", async () => {
    const delayed = { ...PERFECT, delayMs: 50 };
    const world = new World(new Random(1), { ...delayed });
    const { network } = world;
    const { near, far, socket } = await world.connect({ ...delayed });
    // Until the congestion window is wide.
    const count = 40;
    await world.until(near.sendAll(Array.from({ length: count }, (_, index) => makeFrame(index, 60_000))));
    await world.until(far.received(count));
    await network.run(network.now + 1000);

    watch();
    const more = 6000;
    let losing = true;
    let packets = 0;
    network.onPacket = (from) => {
      if (from === socket) socket.path.loss = losing && packets++ % 2 === 0 ? 1 : 0;
    };
    let bad = 0;
    far.consume = (memory, start, end) => {
      const frame = makeFrame(far.frameCount - 1, 40);
      if (Buffer.compare(frame, memory.subarray(start, end)) !== 0) bad++;
    };
    // Each in a packet of its own.
    for (let index = 0; index < more; index++) {
      network.at(network.now + index / 100, () => void near.send(makeFrame(count + index, 40)));
    }
    network.at(network.now + 62, () => (losing = false));
    await world.until(far.received(count + more));
    expect(far.frameCount).to.equal(count + more);
    expect(bad).to.equal(0);
    expect(far.violations).to.deep.equal([]);
    expect(mostRanges).to.equal(MAX_EARLY_RANGES);
    expect(dropped).to.be.above(100);
    near.close();
    expect(await world.until(near.closed)).to.equal(undefined);
  });

  it("are not acknowledged with their packet, whose other chunks are taken", async () => {
    const world = new World(new Random(1));
    const { network } = world;
    const sent: { from: unknown; packet: Uint8Array }[] = [];
    network.onPacket = (from, packet) => void sent.push({ from, packet: packet.slice() });
    const { near, far, socket } = await world.connect();
    near.send(makeFrame(0, 40));
    await world.until(far.received(1));
    await network.run(network.now + 100);
    const own = sent.filter(({ from, packet }) => from === socket && packet[0] === Type.DATA).at(-1)!.packet;
    let number = readU48(own, NUMBER_AT) + 1;
    // The peer is somebody else from now on.
    socket.path.loss = world.socket.path.loss = 1;
    watch();
    /** Whether a packet with these single bytes of the stream is acknowledged. */
    async function acknowledged(...offsets: number[]): Promise<boolean> {
      const packet = new Uint8Array(15 + 10 * offsets.length);
      packet.set(own.subarray(0, NUMBER_AT));
      writeU48(packet, NUMBER_AT, number);
      for (const [index, offset] of offsets.entries()) {
        const at = 15 + 10 * index;
        packet[at] = Chunk.DATA;
        writeU48(packet, at + 1, offset);
        packet[at + 7] = 1;
      }
      sent.length = 0;
      world.socket.receive(packet, socket.route);
      await network.run(network.now + 20);
      const largest = sent.map(({ packet: { buffer } }) => readU48(new Uint8Array(buffer), 16));
      if (!largest.includes(number)) return false;
      number++;
      return true;
    }
    const top = 100_000;
    let most = 0;
    for (let range = 0; range < MAX_EARLY_RANGES; range += 64) {
      const offsets = Array.from({ length: 64 }, (_, index) => top - 2 * (range + index));
      if (await acknowledged(...offsets)) most += 64;
    }
    expect(most).to.equal(MAX_EARLY_RANGES);
    expect(dropped).to.equal(0);
    expect(await acknowledged(1000), "one that would be one range more").to.equal(false);
    expect(await acknowledged(40, 1000), "a part of it is dropped").to.equal(false);
    expect(dropped).to.equal(2);
    // Acknowledgements count wherever they are: what waits for them leaves.
    sent.length = 0;
    for (let index = 0; index < 30; index++) far.send(makeFrame(index, 1000));
    await network.run(network.now + 1);
    const numbers = sent
      .filter(({ from }) => from === world.socket)
      .map(({ packet }) => readU48(packet, NUMBER_AT));
    const ack = new Uint8Array(15 + 18 + 10);
    ack.set(own.subarray(0, NUMBER_AT));
    writeU48(ack, NUMBER_AT, number);
    ack[15] = Chunk.ACK;
    writeU48(ack, 16, numbers.at(-1)!);
    writeU48(ack, 24, 1 << 20);
    ack[31] = numbers.length - 1;
    ack[33] = Chunk.DATA;
    writeU48(ack, 34, 2000);
    ack[40] = 1;
    sent.length = 0;
    world.socket.receive(ack, socket.route);
    await network.run(network.now + 1);
    expect(dropped).to.equal(3);
    expect(sent.filter(({ from }) => from === world.socket)).to.not.deep.equal([]);
    expect(await acknowledged(41, 42), "behind what the dropped one had in it").to.equal(true);
    expect(await acknowledged(top + 1, top - 1), "what makes ranges longer").to.equal(true);
    expect(await acknowledged(1000), "there is room for one again").to.equal(true);
    expect(mostRanges).to.equal(MAX_EARLY_RANGES);
    expect(far.closeCount).to.equal(0);
  });
});
