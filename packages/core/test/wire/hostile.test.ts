import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect } from "chai";
import { Server, type Metadata } from "@sluice/core";
import { ManualClock, ScriptedConnection, ScriptedTransport, turn } from "./carrier.js";
import { encodeFrame, type StreamName } from "./frame.js";
import { HELLO, payload, Peer } from "./peer.js";
import { Vectors } from "./service.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function stream(slot: number, generation = 1): StreamName {
  return { opener: "connecting", slot, generation };
}

/** What opens a unary call with a small request. */
function open(slot: number, generation = 1) {
  const named = slot === 0 && generation === 1 && { name: "sluice.Vectors/Unary" };
  return {
    type: "OPEN",
    stream: stream(slot, generation),
    method: 0,
    ...named,
    message: "0a0161",
    last: true,
  } as const;
}

describe("a session and what a peer may do to it", () => {
  it("tries again only what the credit that came is enough for", async () => {
    const peer = await Peer.of("accepting", { connectionWindowBytes: 65536 });
    // An END with a response of 20,000 bytes costs 20,012: three have credit, 5,500 bytes are left.
    for (let i = 0; i < 6; i++) {
      peer.say(open(i));
      await peer.endpoint.act(peer.endpoint.accepted[i], { respond: payload(20000) });
    }
    expect(peer.takeAll()).to.have.length(3);
    peer.say({ type: "CREDIT", stream: null, bytes: 14511 });
    expect(peer.takeAll()).to.have.length(0);
    peer.say({ type: "CREDIT", stream: null, bytes: 1 });
    expect(peer.takeAll()).to.have.length(1);
    peer.say({ type: "CREDIT", stream: null, bytes: 2 * 20012 });
    expect(peer.takeAll()).to.have.length(2);
  });

  for (const [waitsFor, hello, first] of [
    ["credit of the connection", { connectionWindowBytes: 65536 }, 65000],
    ["room to reassemble", { streamWindowBytes: 65536, reassemblyBytes: 100_000 }, 100_000],
  ] as const) {
    it(`forgets a call that waits for ${waitsFor} when it is cancelled`, async () => {
      // A call keeps its metadata for as long as it is kept itself.
      const calls: WeakRef<Metadata>[] = [];
      const connection = new ScriptedConnection();
      const transport = new ScriptedTransport(connection);
      const server = new Server([transport], {}, new ManualClock());
      let size: number = first;
      server.add(Vectors, {
        unary(_request, context) {
          calls.push(new WeakRef(context.metadata));
          return payload(size);
        },
        serverStream: () => [] as never,
        clientStream: () => "",
        bidi: () => [] as never,
      });
      await server.listen("scripted:");
      transport.arrive();
      connection.receive(encodeFrame({ ...HELLO, ...hello }));
      connection.receive(encodeFrame(open(0)));
      size = 70_000;
      for (let generation = 1; generation <= 200; generation++) {
        connection.receive(encodeFrame({ ...open(1, generation), stream: stream(1, generation) }));
        connection.receive(
          encodeFrame({ type: "RESET", stream: stream(1, generation), status: "CANCELLED" }),
        );
      }
      expect(calls).to.have.length(201);
      expect(connection.closed).to.equal(false);
      await turn();
      collectGarbage();
      const alive = calls.filter((call) => call.deref() !== undefined);
      expect(alive.length).to.be.below(20);
    });
  }

  it("claims memory for what came, not for what was announced", async () => {
    const peer = await Peer.of("accepting");
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 1000; i++) {
      peer.say({ ...open(i), total: 4 << 20, message: "0a", more: true, last: undefined } as never);
    }
    expect(process.memoryUsage().arrayBuffers - before).to.be.below(32 << 20);
    expect(peer.endpoint.connection.closed).to.equal(false);
  });

  it("takes only a window's worth of messages that the reassembly budget has no room for", async () => {
    const limits = { connectionWindowBytes: 65536, streamWindowBytes: 65536, reassemblyBytes: 100_000 };
    const peer = await Peer.of("accepting", {}, limits);
    const part = (slot: number, bytes: number) =>
      peer.say({
        type: "OPEN",
        stream: stream(slot),
        method: 0,
        ...(slot === 0 && { name: "sluice.Vectors/Unary" }),
        total: 100_000,
        message: "0a".repeat(bytes),
        more: true,
      });
    part(0, 1000);
    part(1, 40_000);
    part(2, 20_000);
    // For all of the first message, and twice for the connection.
    expect(peer.takeAll().map(({ type }) => type)).to.deep.equal(["CREDIT", "CREDIT", "CREDIT"]);
    part(3, 10_000);
    expect(peer.takeAll()).to.deep.include({
      type: "GOAWAY",
      status: "RESOURCE_EXHAUSTED",
      accepted: 4,
      text: "messages in part beyond the 100000 bytes of reassemblyBytes fill a whole window",
    });
    expect(peer.endpoint.connection.closed).to.equal(true);
  });

  it("sends large messages in the order in which they came", async () => {
    const peer = await Peer.of("connecting", { streamWindowBytes: 65536, reassemblyBytes: 200_000 });
    const { endpoint } = peer;
    for (const bytes of [100_000, 120_000, 70_000]) {
      await endpoint.make({ call: "unary", request: payload(bytes) });
    }
    expect(peer.takeAll()).to.have.length(1);
    peer.say({ type: "CREDIT", stream: stream(0), bytes: 100_000 });
    expect(peer.takeAll().map((frame) => "stream" in frame && frame.stream!.slot)).to.deep.equal([0, 1, 2]);
  });
});
