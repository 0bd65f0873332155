import { expect } from "chai";
import { makeFrame, Random, type Endpoint } from "@sluice/transport-contract";
import { Congestion } from "#transports/udp/congestion.js";
import { LARGEST_PACKET_BYTES, PathMtu } from "#transports/udp/path-mtu.js";
import { RoundTrip } from "#transports/udp/rtt.js";
import { SentPackets } from "#transports/udp/sent-packets.js";
import { PERFECT, type Path } from "./network.js";
import { World } from "./world.js";

/** docs/udp.md. */
const [DATA, PING, PADDING, HEADER_BYTES] = [6, 1, 6, 15];
const SHORT = 1200;

/** Sends probes over a path that carries `mtu`, and loses `loss` of them, until there are none to send. Returns their lengths. */
function search(pathMtu: PathMtu, mtu: number, now = 0, random = new Random(1), loss = 0): number[] {
  const sent: number[] = [];
  for (let bytes = pathMtu.probe(now); bytes > 0; bytes = pathMtu.probe(now)) {
    sent.push(bytes);
    pathMtu.onProbeSent();
    expect(pathMtu.probe(now), "a second one under way").to.equal(0);
    if (bytes <= mtu && random.fraction() >= loss) pathMtu.onProbeAcked(bytes, now);
    else pathMtu.onProbeLost(bytes, now);
  }
  return sent;
}

/** Losses of packets of `bytes`, each noticed by itself. */
function lose(pathMtu: PathMtu, bytes: number, times: number, now = 0): void {
  for (let time = 0; time < times; time++) pathMtu.onLost(bytes, now + time + 0.5, now + time + 1);
}

describe("udp, the search for the path's MTU", () => {
  it("tries first what the interface takes, and needs one probe where the path carries it", () => {
    for (const ceiling of [1452, 1472, 8972]) {
      const pathMtu = new PathMtu(() => ceiling);
      expect(pathMtu.packetBytes).to.equal(SHORT);
      expect(search(pathMtu, 65_507)).to.deep.equal([ceiling]);
      expect(pathMtu.packetBytes).to.equal(ceiling);
    }
    const loopback = new PathMtu(() => 65_507);
    expect(search(loopback, 65_507)).to.deep.equal([LARGEST_PACKET_BYTES]);
  });

  it("finds what any path carries, but for a 32nd, with few probes", () => {
    const random = new Random(1);
    for (let round = 0; round < 2000; round++) {
      const ceiling = SHORT + random.below(20_000);
      const mtu = SHORT + random.below(random.below(2) === 0 ? 400 : ceiling);
      const pathMtu = new PathMtu(() => ceiling);
      const sent = search(pathMtu, mtu);
      const best = Math.min(ceiling, mtu, LARGEST_PACKET_BYTES);
      expect(pathMtu.packetBytes, `of ${best}`).to.be.within(Math.floor((best * 32) / 33), best);
      expect(Math.max(SHORT, ...sent)).to.be.at.most(ceiling);
      expect(sent.length, `probes for ${mtu} below ${ceiling}`).to.be.at.most(33);
    }
  });

  it("finds Ethernet behind an interface that takes more", () => {
    for (const mtu of [1472, 1452]) {
      const pathMtu = new PathMtu(() => 8972);
      search(pathMtu, mtu);
      expect(pathMtu.packetBytes).to.equal(mtu);
    }
  });

  it("gives a length up only when three probes of it are lost", () => {
    const pathMtu = new PathMtu(() => 1472);
    for (let lost = 0; lost < 2; lost++) {
      expect(pathMtu.probe(0)).to.equal(1472);
      pathMtu.onProbeSent();
      pathMtu.onProbeLost(1472, 0);
    }
    expect(pathMtu.probe(0)).to.equal(1472);
    pathMtu.onProbeSent();
    pathMtu.onProbeLost(1472, 0);
    expect(pathMtu.probe(0)).to.be.below(1472);
  });

  it("rests for ten minutes, and finds what the path carries then", () => {
    let ceiling = 0;
    const pathMtu = new PathMtu(() => ceiling);
    expect(search(pathMtu, 1472)).to.deep.equal([]);
    ceiling = 8972;
    expect(search(pathMtu, 1472, 599_999)).to.deep.equal([]);
    expect(search(pathMtu, 1472, 600_000)).to.not.deep.equal([]);
    expect(pathMtu.packetBytes).to.equal(1472);
    expect(search(pathMtu, 8972, 1_199_999)).to.deep.equal([]);
    expect(search(pathMtu, 8972, 1_200_000)).to.deep.equal([8972]);
  });

  it("goes back to short packets when longer ones are lost three times, and searches below", () => {
    const pathMtu = new PathMtu(() => 8972);
    search(pathMtu, 8972);
    lose(pathMtu, 8972, 2);
    expect(pathMtu.packetBytes).to.equal(8972);
    lose(pathMtu, 5000, 1, 2);
    expect(pathMtu.packetBytes).to.equal(SHORT);
    const sent = search(pathMtu, 1400, 3);
    expect(Math.max(...sent)).to.be.below(5000);
    expect(pathMtu.packetBytes).to.be.within(1350, 1400);
  });

  it("takes packets that are lost together for one loss, short ones for none, and arrivals for an end of it", () => {
    const pathMtu = new PathMtu(() => 8972);
    search(pathMtu, 8972);
    for (let count = 0; count < 20; count++) pathMtu.onLost(8972, 1, 2);
    lose(pathMtu, SHORT, 20, 10);
    pathMtu.onLost(8972, 40, 41);
    expect(pathMtu.packetBytes).to.equal(8972);
    // Of a shorter one that arrives, nothing follows for longer ones.
    pathMtu.onAcked(5000);
    pathMtu.onLost(8972, 50, 51);
    expect(pathMtu.packetBytes).to.equal(SHORT);

    const good = new PathMtu(() => 8972);
    search(good, 8972);
    for (let time = 0; time < 20; time++) {
      lose(good, 8972, 2, 10 * time);
      good.onAcked(8972);
    }
    expect(good.packetBytes).to.equal(8972);
  });

  it("does not believe a probe that was sent before the path changed", () => {
    const pathMtu = new PathMtu(() => 1472);
    const bytes = pathMtu.probe(0);
    pathMtu.onProbeSent();
    // Packets that were longer once.
    lose(pathMtu, 1300, 3);
    pathMtu.onProbeAcked(bytes, 5);
    expect(pathMtu.packetBytes).to.equal(SHORT);
    expect(pathMtu.probe(5)).to.be.within(SHORT + 1, 1299);
  });
});

describe("udp, probes among packets", () => {
  const sentPackets = (): { sent: SentPackets; congestion: Congestion; lost: number[] } => {
    const congestion = new Congestion();
    const lost: number[] = [];
    const onLost = ({ number }: { number: number }): void => void lost.push(number);
    return { congestion, lost, sent: new SentPackets(congestion, new RoundTrip(), { onAcked() {}, onLost }) };
  };

  it("are not waited for, and not sent again", () => {
    const { sent } = sentPackets();
    sent.addProbe(0, 1472, 5);
    expect(sent.any).to.equal(false);
    expect(sent.lastSentAt).to.equal(0);
    sent.add(1, 100, 0, 50, false, 7);
    sent.addProbe(2, 1472, 9);
    expect(sent.any).to.equal(true);
    expect(sent.oldest.number).to.equal(1);
    expect(sent.lastSentAt).to.equal(7);
    sent.acknowledge([0, 1], 2, 0, 10);
    expect(sent.any).to.equal(true);
    sent.acknowledge([1, 3], 2, 0, 10);
    expect(sent.any).to.equal(false);
  });

  it("are no sign of congestion when they are lost, but leave the window", () => {
    const { sent, congestion, lost } = sentPackets();
    const { window } = congestion;
    sent.addProbe(0, 1472, 0);
    for (let number = 1; number <= 3; number++) sent.add(number, 100, 0, 0, false, 0);
    expect(congestion.inFlight).to.equal(1772);
    sent.acknowledge([1, 4], 2, 0, 10);
    expect(lost).to.deep.equal([0]);
    expect(congestion.inFlight).to.equal(0);
    expect(congestion.window).to.be.at.least(window);
  });

  it("may leave at some time, however slow the path is", () => {
    const congestion = new Congestion();
    const rtt = new RoundTrip();
    rtt.update(3000, 0);
    const at = congestion.releaseAt(LARGEST_PACKET_BYTES, 10, rtt);
    expect(at).to.be.below(1e6);
    expect(congestion.releaseAt(LARGEST_PACKET_BYTES, at + 1, rtt)).to.equal(at + 1);
  });

  it("that arrived give the window room for two packets of their length", () => {
    const congestion = new Congestion();
    congestion.resize(8972);
    expect(congestion.window).to.be.at.least(2 * 8972);
    for (let now = 1; now < 10; now++) {
      congestion.onSent(8972);
      congestion.onLost(8972, now - 0.5, now);
    }
    expect(congestion.window).to.equal(2 * 8972);
  });
});

const SECRET = new Uint8Array(32).fill(7);
/** Of a good network: 20 ms there and back, at 100 Mbit/s. */
const link = (over: Partial<Path> = {}): Path => ({
  ...PERFECT,
  delayMs: 10,
  bandwidth: 12_500,
  queueBytes: 250_000,
  ...over,
});

/** Sends `count` frames of `bytes` each; resolves when all have arrived. */
async function bulk(
  world: World,
  from: Endpoint,
  to: Endpoint,
  count: number,
  bytes = 60_000,
): Promise<void> {
  const first = to.frameCount;
  const frames = Array.from({ length: count }, (_, index) => makeFrame(first + index, bytes));
  await world.until(Promise.all([from.sendAll(frames), to.received(first + count)]));
}

/** The lengths of the packets of each socket that its path carries. */
function watch(world: World): Map<unknown, number[]> {
  const lengths = new Map<unknown, number[]>();
  world.network.onPacket = (from, packet) => {
    const own = lengths.get(from) ?? [];
    lengths.set(from, own);
    if (packet.length <= from.path.mtu) own.push(packet.length);
  };
  return lengths;
}

for (const secret of [undefined, SECRET]) {
  describe(`udp, long packets ${secret ? "with" : "without"} a secret`, () => {
    for (const [there, back] of [
      [1200, 1200],
      [1472, 1472],
      [1400, 8972],
      [LARGEST_PACKET_BYTES, 1252],
    ] as const) {
      it(`are as long as the path carries each way: ${there} and ${back}`, async () => {
        const server = link({ mtu: back, interfaceMtu: 65_507 });
        const world = new World(new Random(1), server, secret);
        const { near, far, socket } = await world.connect(link({ mtu: there, interfaceMtu: 8972 }));
        await Promise.all([bulk(world, near, far, 100), bulk(world, far, near, 100)]);
        const lengths = watch(world);
        await Promise.all([bulk(world, near, far, 20), bulk(world, far, near, 20)]);
        for (const [from, best] of [
          [socket, Math.min(there, 8972)],
          [world.socket, back],
        ] as const) {
          const longest = Math.max(...lengths.get(from)!);
          expect(longest).to.be.within(Math.floor((best * 32) / 33), best);
          const full = lengths.get(from)!.filter((length) => length === longest).length;
          expect(full * longest).to.be.above(1_000_000);
        }
        for (const { violations } of [near, far]) expect(violations).to.deep.equal([]);
      });
    }

    it("become short at once when the path does not carry them any more, and as long as it does again", async () => {
      for (const [seed, after] of [1200, 1300, 1472, 5000].entries()) {
        const path = link({ interfaceMtu: 8972 });
        const world = new World(new Random(seed), link(), secret);
        const { near, far, socket } = await world.connect(path);
        const lengths = watch(world);
        await bulk(world, near, far, 50);
        expect(Math.max(...lengths.get(socket)!)).to.equal(8972);
        path.mtu = after;
        const began = world.network.now;
        await bulk(world, near, far, 100);
        // 6 MB take half a second on a path that loses nothing.
        expect(world.network.now - began, "simulated ms").to.be.below(3000);
        lengths.clear();
        await bulk(world, near, far, 20);
        const longest = Math.max(...lengths.get(socket)!);
        expect(longest).to.be.within(Math.floor((after * 32) / 33), after);
        expect([near.closeCount, far.closeCount]).to.deep.equal([0, 0]);
      }
    });

    it("become short also where short ones go on arriving between them", async () => {
      const path = link({ interfaceMtu: 8972 });
      const world = new World(new Random(3), link(), secret);
      const { near, far } = await world.connect(path);
      await bulk(world, near, far, 50);
      path.mtu = 1200;
      const { network } = world;
      // So that there is never a time-out.
      const frames = far.frameCount;
      let sent = 0;
      const began = network.now;
      const tick = (): void => {
        if (sent >= 400) return;
        if (near.send(makeFrame(frames + sent, sent % 20 === 0 ? 20_000 : 200))) sent++;
        network.at(network.now + 5, tick);
      };
      tick();
      await world.until(far.received(frames + 400));
      expect(network.now - began, "simulated ms").to.be.below(4000);
      expect(far.violations).to.deep.equal([]);
    });
  });
}

describe("udp, probes of the path", () => {
  it("are a PING and zeros", async () => {
    const world = new World(new Random(1), link());
    const { near, far, socket } = await world.connect(link({ mtu: 1400, interfaceMtu: 8972 }));
    const probes: Uint8Array[] = [];
    let longestOther = 0;
    world.network.onPacket = (from, packet) => {
      if (from !== socket) return;
      if (packet[0] === DATA && packet[HEADER_BYTES] === PING && packet[HEADER_BYTES + 1] === PADDING) {
        probes.push(packet.slice());
      } else longestOther = Math.max(longestOther, packet.length);
    };
    await bulk(world, near, far, 100);
    expect(probes.map(({ length }) => length).slice(0, 7)).to.deep.equal([
      8972, 8972, 8972, 1472, 1472, 1472, 1452,
    ]);
    for (const probe of probes) {
      expect(probe.subarray(HEADER_BYTES + 2).every((byte) => byte === 0)).to.equal(true);
    }
    expect(longestOther, "without having been tried").to.be.at.most(1400);
  });

  it("are not sent where there is little to send, nor where the host does not know its interface", async () => {
    const run = async (interfaceMtu: number, bytes: number): Promise<string[]> => {
      const world = new World(new Random(1), link({ interfaceMtu }));
      const log: string[] = [];
      const { near, far } = await world.connect(link({ interfaceMtu }));
      world.network.onPacket = (_, packet) => void log.push(`${world.network.now} ${packet.length}`);
      far.consume = (memory, start, end) => void far.send(memory.slice(start, end));
      for (let call = 0; call < 50; call++) {
        near.send(makeFrame(call, bytes));
        await world.network.run(world.network.now + 100);
      }
      await world.network.run(world.network.now + 60_000);
      return log;
    };
    for (const bytes of [100, 5000, 11_000]) {
      expect(await run(8972, bytes), `calls of ${bytes} bytes`).to.deep.equal(await run(0, bytes));
    }
    expect(Math.max(...(await run(0, 60_000)).map((line) => Number(line.split(" ")[1])))).to.equal(SHORT);
  });

  it("do not slow a path down that carries none", async () => {
    const took = async (interfaceMtu: number): Promise<number> => {
      const world = new World(new Random(1), link());
      const { near, far } = await world.connect(link({ mtu: 1200, interfaceMtu }));
      const began = world.network.now;
      await bulk(world, near, far, 100);
      return world.network.now - began;
    };
    expect(await took(LARGEST_PACKET_BYTES)).to.be.below(1.3 * (await took(0)));
  });

  it("find the length although some are lost by chance", async () => {
    let found = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const world = new World(new Random(seed), link({ loss: 0.05 }));
      const { near, far, socket } = await world.connect(link({ mtu: 1472, interfaceMtu: 1472, loss: 0.05 }));
      await bulk(world, near, far, 20);
      const lengths = watch(world);
      await bulk(world, near, far, 5);
      if (Math.max(...lengths.get(socket)!) === 1472) found++;
    }
    // Three of three are lost in 1 of 8000 searches.
    expect(found).to.be.at.least(19);
  });

  it("leave on slow paths, too", async () => {
    const path = { ...PERFECT, delayMs: 300, interfaceMtu: 65_507 };
    const world = new World(new Random(1), { ...PERFECT, delayMs: 300 });
    const { near, far, socket } = await world.connect(path);
    const lengths = watch(world);
    await bulk(world, near, far, 100);
    expect(Math.max(...lengths.get(socket)!)).to.equal(LARGEST_PACKET_BYTES);
  });
});
