import { expect } from "chai";
import { Status } from "@sluice/core";
import { channelOn, connectPair, FrameType, IDLE, part, RawPeer, rejection } from "./fixture.js";
import { Simulation } from "./simulation/simulation.js";
import type { Part } from "./simulation/service.js";

/** A message that does something while it is being encoded. */
function doing(action: () => unknown, index = 0, size = 0): Part {
  let first = true;
  return {
    index,
    get data() {
      if (first) {
        first = false;
        action();
      }
      return new Uint8Array(size);
    },
  };
}

describe("while a message is being encoded", () => {
  for (const size of [0, 30_000]) {
    it(`calls can be made, and leave without further ado (${size} bytes)`, async () => {
      const { simulation, calls, usage } = await connectPair();
      const inner: Promise<Part>[] = [];
      const outer = calls.unary(
        doing(() => inner.push(calls.unary(doing(() => inner.push(calls.unary(part(3)))))), 1, size),
      );
      await simulation.run(0);
      expect((await outer).index).to.equal(1);
      expect(inner).to.have.length(2);
      expect((await Promise.all(inner)).map(({ index }) => index)).to.have.members([0, 3]);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  it("a call cannot take the slot that another was given", async () => {
    const { simulation, calls, usage } = await connectPair({
      server: { limits: { maxConcurrentStreams: 2 } },
    });
    const running: Promise<Part>[] = [];
    const nest = (depth: number): void => {
      running.push(calls.unary(doing(() => (depth > 0 ? nest(depth - 1) : undefined), depth)));
    };
    nest(5);
    await simulation.run(0);
    expect((await Promise.all(running)).map(({ index }) => index).sort()).to.deep.equal([0, 1, 2, 3, 4, 5]);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("its stream can be cancelled: nothing of it follows the RESET", async () => {
    // A link that is full makes messages be encoded aside, else in place.
    for (const capacityBytes of [16 << 10, 1 << 20]) {
      const { simulation, near, calls, usage } = await connectPair({ link: { capacityBytes } });
      const controller = new AbortController();
      const types: number[] = [];
      near.onCommit = ({ type }) => types.push(type);
      async function* source() {
        yield part(0, 15_000);
        yield doing(() => controller.abort(), 1, 100);
        yield part(2);
      }
      const failed = rejection(calls.clientStream(source(), { signal: controller.signal }));
      await simulation.run(0);
      expect((await failed).code).to.equal(Status.CANCELLED);
      expect(
        types.slice(types.indexOf(FrameType.RESET) + 1).filter((type) => type === FrameType.DATA),
      ).to.deep.equal([]);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    }
  });

  it("the channel can be closed: the call that was not sent did not run", async () => {
    for (const size of [0, 30_000]) {
      let handled = 0;
      const { simulation, client, calls } = await connectPair({
        server: {
          implementation: {
            unary(request) {
              handled++;
              return request;
            },
          },
        },
      });
      const closing: Promise<void>[] = [];
      const failed = rejection(calls.unary(doing(() => closing.push(client.close()), 0, size)));
      await simulation.run(0);
      expect(await failed).to.include({ code: Status.UNAVAILABLE, mayHaveRun: false });
      expect(handled).to.equal(0);
      await Promise.all(closing);
    }
  });

  it("the connection can be destroyed", async () => {
    const { simulation, near, client, calls } = await connectPair();
    const failed = rejection(calls.unary(doing(() => client.destroy(new Error("enough")))));
    await simulation.run(0);
    expect(await failed).to.include({ code: Status.UNAVAILABLE });
    expect(near.closed).to.equal(true);
  });
});

describe("a session without room", () => {
  it("sends nothing before its HELLO", async () => {
    // The link finds no room as often as not, so that the peer's HELLO is there first.
    for (let seed = 1; seed <= 20; seed++) {
      const { simulation, near, calls } = await connectPair({ seed, link: { backPressure: 0.7 } });
      const types: number[] = [];
      near.onCommit = ({ type }) => types.push(type);
      const answered = calls.unary(part(1));
      await simulation.run(0);
      expect((await answered).index).to.equal(1);
      expect(types).not.to.include(FrameType.HELLO);
    }
  });

  it("still gives up a peer that takes no HELLO", async () => {
    const simulation = new Simulation(1);
    const [near, far] = simulation.link();
    near.full = true;
    const channel = channelOn(simulation, near, true);
    new RawPeer(simulation, far).hello();
    await simulation.run(9999);
    expect(near.closed).to.equal(false);
    await simulation.run(1);
    expect(near.closed).to.equal(true);
    expect(channel.state).to.equal("shutdown");
  });
});

describe("a stream of responses that its consumer leaves", () => {
  it("gives back the credit of what it did not take, also when the call had ended", async () => {
    const { simulation, calls, usage } = await connectPair({
      server: {
        implementation: {
          async *bidi() {
            for (let i = 0; i < 5; i++) yield part(i, 1000);
          },
        },
      },
    });
    // The server ends the call while the client still sends.
    const responses = calls.bidi(
      (async function* () {
        yield part(0);
        await simulation.sleep(10);
      })(),
    );
    await simulation.run(1);
    for await (const response of responses) {
      expect(response.index).to.equal(0);
      break;
    }
    await simulation.run();
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });
});
