import { expect } from "chai";
import { Status, type RpcError } from "@sluice/core";
import { Endpoint, makeFrame, Random } from "@sluice/transport-contract";
import { refusal } from "../refusal.js";
import { PERFECT } from "./network.js";
import { World } from "./world.js";

const SECRET = new Uint8Array(32).fill(7);
/** The first bytes of packets: docs/udp.md. */
const [INIT, RETRY, ACCEPT, DATA] = [1, 2, 3, 6];
/** Where a cookie is, in INIT and RETRY. */
const [COOKIE_AT, COOKIE_BYTES] = [12, 32];

/** Everything that a socket sends. */
function record(world: World): Map<unknown, Uint8Array[]> {
  const sent = new Map<unknown, Uint8Array[]>();
  world.network.onPacket = (from, packet) => {
    const packets = sent.get(from) ?? [];
    sent.set(from, packets);
    packets.push(packet.slice());
  };
  return sent;
}

const bytesOf = (packets: readonly Uint8Array[] = []): number =>
  packets.reduce((sum, { length }) => sum + length, 0);

for (const secret of [undefined, SECRET]) {
  describe(`udp, the handshake ${secret ? "with" : "without"} a secret`, () => {
    it("takes two round trips, and gives up after 10 s without an answer", async () => {
      const delayed = { ...PERFECT, delayMs: 10 };
      const world = new World(new Random(1), delayed, secret);
      await world.until(world.client(delayed).endpoint.connect());
      expect(world.network.now).to.equal(40);

      const deaf = new World(new Random(1), { ...PERFECT, loss: 1 }, secret);
      const error = await refusal(deaf.until(deaf.client().endpoint.connect()), Status.UNAVAILABLE);
      expect(error.message).to.contain("no answer in 10 s");
      expect(deaf.network.now).to.be.within(9_900, 10_100);
    });

    it("sends less than three times what came from an address before it is validated", async () => {
      const world = new World(new Random(2), { ...PERFECT }, secret);
      const sent = record(world);
      const { endpoint, socket } = world.client({ ...PERFECT });
      const connecting = endpoint.connect();
      let beforeCookie = 0;
      await world.network.run(world.network.now + 1000, () => {
        if (sent.get(socket)?.length === 1) beforeCookie = bytesOf(sent.get(world.socket));
        return beforeCookie > 0;
      });
      const [first] = sent.get(socket)!;
      expect(first![0]).to.equal(INIT);
      expect(beforeCookie)
        .to.be.above(0)
        .and.below(first!.length / 3);
      await world.until(connecting);
      // Before the client's third packet, which answers what only it could receive, the same holds of all that was sent.
      const [retry, accept] = sent.get(world.socket)!;
      expect([retry![0], accept![0]]).to.deep.equal([RETRY, ACCEPT]);
      expect(retry!.length + accept!.length).to.be.below(2 * first!.length);
    });

    it("answers nothing to what is shorter than it should be, of another kind, or cut off", async () => {
      const world = new World(new Random(3), { ...PERFECT }, secret);
      const sent = record(world);
      const { endpoint, socket } = world.client();
      await world.until(endpoint.connect());
      const [init] = sent.get(socket)!;
      await world.network.run(world.network.now + 5);
      const stranger = world.network.socket("203.0.113.9", 1234, { ...PERFECT });
      const before = sent.get(world.socket)!.length;
      for (const packet of [
        init!.slice(0, 1199),
        init!.slice(0, 12),
        Uint8Array.of(INIT),
        Uint8Array.of(DATA, 1, 2, 3),
        new Uint8Array(1200).fill(RETRY),
        new Uint8Array(1200).fill(9),
        new Uint8Array(0),
      ]) {
        world.socket.receive(packet, stranger.route);
      }
      expect(sent.get(world.socket)!.length).to.equal(before);
    });

    it("keeps nothing of those who do not answer, and serves the others meanwhile", async () => {
      const world = new World(new Random(4), { ...PERFECT }, secret);
      const sent = record(world);
      const { endpoint, socket } = world.client();
      await world.until(endpoint.connect());
      const [first] = sent.get(socket)!;
      world.network.onPacket = undefined;
      const memory = (): number => {
        globalThis.gc?.();
        return process.memoryUsage().heapUsed;
      };
      const flood = (from: number, to: number): void => {
        for (let count = from; count < to; count++) {
          const spoofed = world.network.socket(`203.0.113.${count % 250}`, 1 + (count % 60_000), PERFECT);
          const packet = first!.slice();
          new DataView(packet.buffer).setUint32(4, count, true);
          world.socket.receive(packet, spoofed.route);
          spoofed.close();
        }
      };
      flood(0, 2000);
      await world.network.run(world.network.now + 10);
      const before = memory();
      flood(2000, 20_000);
      await world.network.run(world.network.now + 10);
      expect(memory() - before, "growth in bytes").to.be.below(1 << 20);
      const { near, far } = await world.connect();
      near.send(makeFrame(0, 100));
      await world.until(far.received(1));
    });

    it("accepts no cookie of another address, of another client, or that is old", async () => {
      const world = new World(new Random(5), { ...PERFECT }, secret);
      const sent = record(world);
      const { endpoint, socket } = world.client();
      await world.until(endpoint.connect());
      const second = sent.get(socket)![1]!;
      const answersTo = (packet: Uint8Array, route: Int32Array): number[] => {
        const before = sent.get(world.socket)!.length;
        world.socket.receive(packet, route);
        return sent
          .get(world.socket)!
          .slice(before)
          .map((answer) => answer[0]!);
      };
      expect(answersTo(second, socket.route), "the same again").to.deep.equal([ACCEPT]);
      const other = world.network.socket("203.0.113.9", 1234, { ...PERFECT });
      expect(answersTo(second, other.route), "another address").to.deep.equal([RETRY]);
      const changed = second.slice();
      changed[4]! ^= 1;
      expect(answersTo(changed, socket.route), "another client").to.deep.equal([RETRY]);
      await world.network.run(world.network.now + 11_000);
      expect(answersTo(second, socket.route), "too late").to.deep.equal([RETRY]);
    });

    it("tells clients of a server that was started again", async () => {
      const world = new World(new Random(7), { ...PERFECT }, secret);
      const { near } = await world.connect();
      world.socket.close();
      await world.network.run(world.network.now + 1000);
      expect(near.closeCount, "a server that is only away").to.equal(0);
      const socket = world.network.socket("192.0.2.1", 5000, { ...PERFECT });
      world.start(socket);
      near.send(makeFrame(0, 100));
      const began = world.network.now;
      const error = await world.until(near.closed);
      expect((error as RpcError).message).to.contain("started again");
      expect((error as RpcError).code).to.equal(Status.UNAVAILABLE);
      expect(world.network.now - began, "simulated ms").to.be.below(10);
    });

    it("does not believe anyone else that the server was started again", async () => {
      const world = new World(new Random(8), { ...PERFECT }, secret);
      const sent = record(world);
      const { near, socket } = await world.connect();
      await world.network.run(world.network.now + 100);
      const data = sent.get(socket)!.find((packet) => packet[0] === DATA)!;
      const forged = new Uint8Array(25);
      forged[0] = 5;
      forged.set(data.subarray(1, 9), 1);
      for (let count = 0; count < 1000; count++) {
        forged[9 + (count % 16)]! += 1;
        socket.receive(forged, world.socket.route);
      }
      await world.network.run(world.network.now + 100);
      expect(near.closeCount).to.equal(0);
    });

    it("gives up a peer that vanishes in the configured time, at both ends", async () => {
      const world = new World(new Random(9), { ...PERFECT }, secret);
      const path = { ...PERFECT };
      const { near, far } = await world.connect(path);
      Object.assign(path, { loss: 1 });
      const began = world.network.now;
      const error = await world.until(far.closed);
      expect(String(error)).to.match(/has been silent for \d+ ms/);
      expect(world.network.now - began).to.be.within(29_000, 31_000);
      await world.until(near.closed);
    });

    it("reads what has come before it gives a peer up", async () => {
      const back = { ...PERFECT };
      const world = new World(new Random(10), back, secret);
      const { near, far } = await world.connect();
      near.send(makeFrame(0, 5000));
      await world.until(far.received(1));
      await world.network.run(world.network.now + 1);
      // As after 30 s in which this process stood still: the answer comes right after the time-out.
      back.delayMs = 30_001;
      near.send(makeFrame(1, 5000));
      await world.network.run(world.network.now + 40_000);
      expect([near.closeCount, far.closeCount]).to.deep.equal([0, 0]);
    });
  });
}

describe("udp, ends that do not fit", () => {
  for (const [what, server, client, message] of [
    ["the server has a secret", SECRET, undefined, "it has a secret"],
    ["the server has none", undefined, SECRET, "it has no secret"],
    ["their secrets differ", SECRET, new Uint8Array(32).fill(8), "its secret is not the one"],
  ] as const) {
    it(`says so when ${what}`, async () => {
      const world = new World(new Random(1), { ...PERFECT }, server);
      const { endpoint } = world.client({ ...PERFECT }, client ?? null);
      const error = await refusal(world.until(endpoint.connect()), Status.PERMISSION_DENIED);
      expect(error.message).to.contain(message).and.to.contain("udp://192.0.2.1:5000");
    });
  }

  it("says so when the server speaks another version", async () => {
    const world = new World(new Random(1));
    const { endpoint, socket } = world.client();
    const connecting = endpoint.connect();
    const sent = record(world);
    const answer = new Uint8Array(12);
    answer.set([4, 9, 1]);
    await world.network.run(world.network.now, () => sent.size > 0);
    answer.set(sent.get(world.socket)![0]!.subarray(4, 12), 4);
    socket.receive(answer, world.socket.route);
    const error = await refusal(world.until(connecting), Status.UNAVAILABLE);
    expect(error.message).to.contain("version 9");
  });
});

describe("udp, clients that say no more once they have proved their address", () => {
  it("make room for others, the oldest first", async () => {
    const world = new World(new Random(6));
    const silent: Endpoint[] = [];
    for (let count = 0; count < 1100; count++) {
      const path = { ...PERFECT };
      const connection = await world.until(world.client(path).endpoint.connect());
      // What would have told the server that its answer arrived is lost.
      path.loss = 1;
      silent.push(new Endpoint(connection).start());
    }
    const { near, far } = await world.connect();
    near.send(makeFrame(0, 100));
    await world.until(far.received(1));
    expect(world.accepted.length).to.equal(1);
    // The server remembers 1024, of which the good client was one.
    const ended = silent.map(({ closeCount }) => closeCount);
    expect(ended).to.deep.equal(silent.map((_, index) => (index < 1100 + 1 - 1024 ? 1 : 0)));
    for (const endpoint of silent) endpoint.destroy();
  });

  it("are not kept any longer when they all have the same address", async () => {
    const world = new World(new Random(7));
    const sent = record(world);
    const { endpoint, socket } = world.client();
    await world.until(endpoint.connect());
    const init = sent.get(socket)![0]!.slice();
    world.network.onPacket = undefined;
    const { route } = world.network.socket("203.0.113.9", 1234, { ...PERFECT });
    let answer: Uint8Array | undefined;
    world.network.onPacket = (_, packet) => (answer = packet.slice());
    const flood = async (from: number, to: number): Promise<void> => {
      for (let count = from; count < to; count++) {
        new DataView(init.buffer).setUint32(4, count, true);
        world.socket.receive(init.fill(0, COOKIE_AT, COOKIE_AT + COOKIE_BYTES), route);
        expect(answer![0]).to.equal(RETRY);
        init.set(answer!.subarray(COOKIE_AT, COOKIE_AT + COOKIE_BYTES), COOKIE_AT);
        world.socket.receive(init, route);
        expect(answer![0]).to.equal(ACCEPT);
        await world.network.run(world.network.now + 5);
      }
    };
    const memory = (): number => {
      globalThis.gc?.();
      return process.memoryUsage().heapUsed;
    };
    await flood(0, 3000);
    const before = memory();
    await flood(3000, 8000);
    expect(memory() - before, "growth in bytes").to.be.below(1 << 20);
  });
});

describe("udp, a connection", () => {
  it("ignores packets that were sent before, to whatever end", async () => {
    for (const secret of [undefined, SECRET]) {
      const world = new World(new Random(1), { ...PERFECT }, secret);
      const sent = record(world);
      const { near, far, socket } = await world.connect();
      for (let index = 0; index < 20; index++) {
        near.send(makeFrame(index, 50));
        await world.until(far.received(index + 1));
      }
      const replay = (): void => {
        for (const packet of sent.get(socket)!.slice()) {
          world.socket.receive(packet, socket.route);
          socket.receive(packet, world.socket.route);
        }
      };
      replay();
      await world.network.run(world.network.now + 5000);
      replay();
      await world.network.run(world.network.now + 5000);
      expect(far.frameCount).to.equal(20);
      expect([near.closeCount, far.closeCount]).to.deep.equal([0, 0]);
    }
  });

  it("is nothing to packets from another address", async () => {
    const world = new World(new Random(2));
    const sent = record(world);
    const { near, far, socket } = await world.connect();
    socket.path.loss = 1;
    near.send(makeFrame(0, 50));
    await world.network.run(world.network.now + 1);
    const stranger = world.network.socket("203.0.113.9", 1234, { ...PERFECT });
    for (const packet of sent.get(socket)!.slice()) world.socket.receive(packet, stranger.route);
    await world.network.run(world.network.now + 1);
    expect(far.frameCount).to.equal(0);
  });

  it("ends with words when the peer breaks a rule", async () => {
    const world = new World(new Random(3));
    const sent = record(world);
    const { near, far, socket } = await world.connect();
    near.send(makeFrame(0, 50));
    await world.until(far.received(1));
    const data = sent.get(socket)!.findLast((packet) => packet[0] === DATA)!;
    const forged = Uint8Array.from([...data.subarray(0, 15), 99]);
    forged[9]! += 20;
    world.socket.receive(forged, socket.route);
    expect(String(await world.until(far.closed))).to.contain("there is no chunk of type 99");
    expect(String(await world.until(near.closed))).to.contain("gave it up");
  });

  it("is refused by a listener that has ended, while older ones live on", async () => {
    const world = new World(new Random(4));
    const { near, far } = await world.connect();
    world.stopListening();
    const error = await refusal(world.until(world.client().endpoint.connect()), Status.UNAVAILABLE);
    expect(error.message).to.contain("nobody listens there any more");
    near.send(makeFrame(0, 100));
    await world.until(far.received(1));
  });

  it("that both ends give up at once is not spoken of for ever", async () => {
    const world = new World(new Random(7));
    const { near, far } = await world.connect();
    near.destroy();
    far.destroy();
    const before = world.network.packets;
    await world.network.run(world.network.now + 10_000);
    expect(world.network.packets - before).to.be.below(20);
  });

  it("is checked ever more rarely while nobody uses it", async () => {
    const world = new World(new Random(5));
    await world.connect();
    await world.network.run(world.network.now + 60_000);
    const before = world.network.packets;
    await world.network.run(world.network.now + 60_000);
    // A question and an answer every 7.5 s.
    expect(world.network.packets - before).to.be.within(12, 20);
  });

  it("holds no more than the window of a peer that does not listen yet", async () => {
    const world = new World(new Random(6));
    const { endpoint } = world.client();
    const near = new Endpoint(await world.until(endpoint.connect())).start();
    await world.network.run(world.network.now + 100);
    const far = world.accepted[0]!;
    let sent = 0;
    for (let turn = 0; turn < 200; turn++) {
      while (near.send(makeFrame(sent, 5000))) sent++;
      await world.network.run(world.network.now + 10);
    }
    expect(sent * 5000).to.be.within(1 << 20, 3 << 20);
    far.start();
    await world.until(far.received(sent));
    near.send(makeFrame(0, 100));
    await world.until(far.received(sent + 1));
  });
});
