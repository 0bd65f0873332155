import { expect } from "chai";
import { connectWith, Status, type Channel, type Clock, type Timer, type Transport } from "@sluice/core";
import { channelOn, FrameType, part, RawPeer, rejection } from "../session/fixture.js";
import { TestDefinition } from "../session/simulation/service.js";
import { Simulation } from "../session/simulation/simulation.js";

/** A channel to peers that `meet` plays, one for each connection. */
function connectTo(simulation: Simulation, meet: (peer: RawPeer) => void) {
  const connectedAt: number[] = [];
  const transport: Transport = {
    scheme: "sim",
    connect: () => {
      connectedAt.push(simulation.clock.now());
      const [near, far] = simulation.link({ reconnectable: true });
      meet(new RawPeer(simulation, far));
      return Promise.resolve(near);
    },
    listen: () => Promise.reject(new Error("nobody listens here")),
  };
  let channel!: Channel;
  const services = (made: Channel): void => void (channel = made);
  void connectWith([transport], "sim:link", { services }, simulation.clock);
  return { channel, connectedAt };
}

describe("a channel whose connections do not last", () => {
  for (const [what, end] of [
    ["ends them", (peer: RawPeer) => peer.connection.destroy(new Error("no more"))],
    ["drains them", (peer: RawPeer) => peer.send(FrameType.GOAWAY, { payload: [0, 0, 0, 0] })],
  ] as const) {
    it(`backs off from a server that greets and ${what} at once`, async () => {
      const simulation = new Simulation(1);
      const { channel, connectedAt } = connectTo(simulation, (peer) => {
        peer.hello();
        void simulation.sleep(1).then(() => end(peer));
      });
      await simulation.run(3000);
      // At once, again at once, and then after 100, 160, 256, ... ms, each with jitter.
      expect(connectedAt.length).to.be.within(5, 9);
      expect(channel.state).to.be.oneOf(["transient-failure", "connecting", "ready"]);
      const closed = channel.close();
      await simulation.run();
      await closed;
    });
  }

  it("connects again at once after one that did, however often", async () => {
    const simulation = new Simulation(1);
    const { channel, connectedAt } = connectTo(simulation, (peer) => {
      peer.hello();
      void simulation.sleep(500).then(() => peer.connection.destroy(new Error("no more")));
    });
    await simulation.run(2400);
    expect(connectedAt).to.have.length(5);
    expect(channel.state).to.equal("ready");
    const closed = channel.close();
    await simulation.run();
    await closed;
  });

  it("goes on waiting, as long as its calls may, when it loses the connection again before they begin", async () => {
    const simulation = new Simulation(1);
    let met = 0;
    const { channel, connectedAt } = connectTo(simulation, (peer) => {
      peer.hello();
      if (++met < 3) peer.send(FrameType.GOAWAY, { payload: [0, 0, 0, 0] });
    });
    const calls = channel.client(TestDefinition);
    const options = { waitForReady: true, timeoutMs: 5000 };
    const ended = [
      rejection(calls.unary(part(0), options)),
      rejection(calls.serverStream(part(0), options)[Symbol.asyncIterator]().next()),
    ];
    await simulation.run(6000);
    // They have reached a peer, which answers nothing.
    for (const error of ended) {
      expect(await error).to.include({ code: Status.DEADLINE_EXCEEDED, mayHaveRun: true });
    }
    expect(connectedAt).to.have.length(3);
    void channel.close({ timeoutMs: 0 });
    await simulation.run();
  });
});

describe("a channel that is unreferenced", () => {
  it("has nothing keep the process alive, before its handshake and after, until it is referenced again", async () => {
    const simulation = new Simulation(1);
    const { clock } = simulation;
    const referenced = new Set<Timer>();
    const counting: Clock = {
      now: () => clock.now(),
      setTimer(callback, delayMs) {
        const inner = clock.setTimer(() => {
          referenced.delete(timer);
          callback();
        }, delayMs);
        const timer: Timer = {
          cancel() {
            referenced.delete(timer);
            inner.cancel();
          },
          ref: () => void referenced.add(timer),
          unref: () => void referenced.delete(timer),
        };
        referenced.add(timer);
        return timer;
      },
    };
    const [near, far] = simulation.link();
    const world = Object.assign(Object.create(simulation) as Simulation, { clock: counting });
    const channel = channelOn(world, near, true, { keepalive: { intervalMs: 1000 } });
    expect(referenced.size).to.equal(1);
    channel.unref();
    expect(referenced.size).to.equal(0);
    new RawPeer(simulation, far).hello();
    await simulation.run(10);
    expect(channel.state).to.equal("ready");
    expect(referenced.size).to.equal(0);
    // A PING is due, and then its answer.
    await simulation.run(1500);
    expect(referenced.size).to.equal(0);
    channel.ref();
    expect(referenced.size).to.equal(1);
    channel.destroy(new Error("the test is over"));
  });
});
