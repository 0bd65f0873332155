import { expect } from "chai";
import { connectPair, connectRaw, FrameType, IDLE, part, type EndOptions } from "./fixture.js";
import { dataOf, sameBytes, TestDefinition, type Part } from "./simulation/service.js";

const KiB = 1 << 10;
const MiB = 1 << 20;

/** A handler that streams parts of the given sizes. */
function streaming(sizes: readonly number[]): EndOptions {
  return {
    implementation: {
      async *serverStream() {
        for (const [index, size] of sizes.entries()) yield part(index, size);
      },
    },
  };
}

describe("flow control", () => {
  it("lets small calls pass a 64 MiB transfer", async () => {
    const limits = { maxMessageBytes: 65 * MiB };
    const { simulation, near, calls, usage } = await connectPair({
      client: { limits },
      server: { limits },
      link: { maxFrameBytes: 65 * KiB, capacityBytes: 256 * KiB },
    });
    const done: string[] = [];
    let bulkBytes = 0;
    near.onCommit = ({ type, payload }) => {
      if (type === FrameType.DATA || type === FrameType.OPEN) bulkBytes += payload.length;
    };
    const bulk = calls.unary({ index: 0, data: new Uint8Array(64 * MiB) }).then(({ data }) => {
      expect(data.length).to.equal(64 * MiB);
      done.push("bulk");
    });
    const passed: number[] = [];
    for (let i = 1; i <= 20; i++) {
      await simulation.runUntil(() => bulkBytes >= i * 2 * MiB);
      const before = bulkBytes;
      const call = calls.unary(part(i)).then(() => done.push(`small ${i}`));
      await simulation.runUntil(() => done.length === i);
      await call;
      passed.push(bulkBytes - before);
    }
    await simulation.run(0);
    await bulk;
    expect(done.at(-1)).to.equal("bulk");
    // One after another, each in the time of a few windows of the transfer.
    expect(Math.max(...passed)).to.be.below(2 * MiB);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("drains two directions that are both full", async () => {
    const { simulation, calls, server, usage } = await connectPair({ link: { capacityBytes: 16 * KiB } });
    const back = server.client(TestDefinition);
    const parts = Array.from({ length: 30 }, (_, i) => ({ index: i, data: dataOf(1, i, 300 * KiB) }));
    let received = 0;
    const both = [calls, back].map(async (client) => {
      for await (const { index, data } of client.bidi(parts)) {
        received++;
        expect(sameBytes(data, parts[index].data)).to.equal(true);
      }
    });
    await simulation.run(0);
    await Promise.all(both);
    expect(received).to.equal(60);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("finishes large messages of many streams in a budget smaller than any of them", async () => {
    const limits = { reassemblyBytes: 100 * KiB };
    const { simulation, calls, usage } = await connectPair({ client: { limits }, server: { limits } });
    const answers = Array.from({ length: 50 }, (_, i) => calls.unary(part(i, MiB / 2)));
    await simulation.run(0);
    expect((await Promise.all(answers)).map(({ index }) => index)).to.deep.equal(answers.map((_, i) => i));
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  describe("with a stream whose consumer sleeps", () => {
    // The first message leaves less of the window than the second needs.
    for (const sizes of [
      [200 * KiB, 300 * KiB, 300 * KiB],
      [300 * KiB, 300 * KiB],
      [MiB, 10, MiB],
      [255 * KiB, MiB],
    ]) {
      it(`carries large messages of others (${sizes.map((size) => Math.round(size / KiB)).join(", ")} KiB)`, async () => {
        const { simulation, calls, usage } = await connectPair({
          // Room for two messages of 300 KiB would hide that the first two wait.
          client: { limits: { reassemblyBytes: MiB + 100 } },
          server: streaming(sizes),
        });
        const sleeping = calls.serverStream(part(0));
        await simulation.run(0);
        const other = calls.unary(part(1, MiB));
        const streams = calls.bidi([part(0, MiB), part(1, MiB), part(2, MiB)]);
        await simulation.run(0);
        expect((await other).data.length).to.equal(MiB);
        let count = 0;
        const reading = (async () => {
          for await (const { index } of streams) expect(index).to.equal(count++);
        })();
        await simulation.run(0);
        expect(count).to.equal(3);
        await reading;
        const slept: Part[] = [];
        const awake = (async () => {
          for await (const one of sleeping) slept.push(one);
        })();
        await simulation.run(0);
        await awake;
        expect(slept.map(({ data }) => data.length)).to.deep.equal(sizes);
        expect(usage()).to.deep.equal([IDLE, IDLE]);
      });
    }

    it("holds at most its window and one message", async () => {
      const { simulation, calls, usage, far } = await connectPair({
        client: { limits: { connectionWindowBytes: 64 * MiB } },
        server: streaming(Array.from({ length: 40 }, () => MiB)),
      });
      let sent = 0;
      far.onCommit = ({ payload }) => (sent += payload.length);
      const sleeping = calls.serverStream(part(0));
      await simulation.run(0);
      expect(sent).to.be.within(MiB, 2 * MiB + 256 * KiB);
      expect(usage()[0].unreturnedBytes).to.be.within(MiB, 2 * MiB + 256 * KiB);
      for await (const { index } of sleeping) {
        expect(usage()[0].unreturnedBytes).to.be.below(2 * MiB + 256 * KiB);
        if (index === 39) break;
        await simulation.run(0);
      }
      await simulation.run(0);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });

    it("goes on by a slow sip at a time, and reads everything", async () => {
      const sizes = [10, 100_000, 0, 5000, 300_000, 1, 1, 600_000, 70_000, 70_000, 70_000, 70_000, 200_000];
      const { simulation, calls, usage } = await connectPair({ server: streaming(sizes) });
      const slept: number[] = [];
      const responses = calls.serverStream(part(0));
      await simulation.run(0);
      for await (const { data } of responses) {
        slept.push(data.length);
        await simulation.run(1);
      }
      expect(slept).to.deep.equal(sizes);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  });

  it("lets no large message be overtaken by smaller ones for ever", async () => {
    const limits = { reassemblyBytes: MiB };
    const { simulation, calls } = await connectPair({ client: { limits }, server: { limits } });
    let done = false;
    let overtaken = 0;
    // Always some messages in part, which leave room for one of their own size but not for the large one.
    const small = async (): Promise<void> => {
      while (!done) {
        await calls.unary(part(0, 300 * KiB));
        overtaken++;
      }
    };
    const streams = [small(), small(), small(), small()];
    await simulation.runUntil(() => overtaken >= 4);
    overtaken = 0;
    const large = calls.unary(part(1, MiB - 100)).then(() => (done = true));
    await simulation.runUntil(() => done || overtaken > 100);
    expect(done).to.equal(true);
    await large;
    await simulation.run(0);
    await Promise.all(streams);
  });

  it("charges each frame its header: a flood of empty messages is bounded by credit", async () => {
    const { simulation, calls, near, far, usage } = await connectPair({
      server: {
        implementation: {
          bidi: async function* () {
            await new Promise(() => {});
            yield part(0);
          },
        },
      },
    });
    let frames = 0;
    near.onCommit = () => frames++;
    function* endless() {
      for (;;) yield part(0);
    }
    const controller = new AbortController();
    const responses = calls.bidi(endless(), { signal: controller.signal });
    await simulation.run(0);
    expect(frames).to.be.within((256 * KiB) / 12 - 100, (256 * KiB) / 12);
    expect(usage()[1].unreturnedBytes).to.be.at.most(256 * KiB);
    controller.abort();
    const failed = await responses[Symbol.asyncIterator]()
      .next()
      .then(undefined, (error: unknown) => error);
    expect(failed).to.include({ code: 1 });
    await simulation.run(0);
    expect(usage()[0]).to.deep.equal(IDLE);
    expect(far.thrown).to.equal(undefined);
  });

  it("refuses a peer that sends more than a stream's or the connection's window", async () => {
    const { simulation, peer } = await connectRaw({
      end: {
        limits: { streamWindowBytes: 64 * KiB, connectionWindowBytes: 100 * KiB },
        implementation: {
          bidi: async function* () {
            await new Promise(() => {});
            yield part(0);
          },
        },
      },
    });
    const name = new TextEncoder().encode("sim.Test/Bidi");
    peer.send(FrameType.OPEN, { stream: 0x20001, flags: 1, payload: [name.length, 0, ...name] });
    for (let i = 0; i < 4; i++) {
      peer.send(FrameType.DATA, { stream: 0x20001, payload: [0x12, 0x80, 0x7d, ...new Uint8Array(16000)] });
    }
    await simulation.run(0);
    expect(peer.received(FrameType.GOAWAY)).to.have.length(0);
    peer.send(FrameType.DATA, { stream: 0x20001, payload: [0x12, 0x80, 0x7d, ...new Uint8Array(16000)] });
    await simulation.run(0);
    expect(peer.goaway.text).to.match(/more than its window/);
  });
});
