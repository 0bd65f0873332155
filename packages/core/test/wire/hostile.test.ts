import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect } from "chai";
import { Server, type Metadata } from "@sluice/core";
import { ManualClock, ScriptedConnection, ScriptedTransport, turn } from "./carrier.js";
import { encodeFrame, type Frame, type StreamName } from "./frame.js";
import { HELLO, payload, Peer } from "./peer.js";
import { Vectors } from "./service.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function stream(slot: number): StreamName {
  return { opener: "connecting", slot, generation: 1 };
}

/** What opens a unary call with a small request. */
function open(slot: number) {
  const named = slot === 0 && { name: "sluice.Vectors/Unary" };
  return {
    type: "OPEN",
    stream: stream(slot),
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

  for (const [waitsFor, hello, first, blocked] of [
    ["credit of the connection", { connectionWindowBytes: 65536 }, 65000, false],
    ["its turn to send a large message", {}, 100_000, true],
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
      if (blocked) connection.block();
      connection.receive(encodeFrame(open(0)));
      size = 70_000;
      for (let slot = 1; slot <= 200; slot++) {
        connection.receive(encodeFrame(open(slot)));
        connection.receive(encodeFrame({ type: "RESET", stream: stream(slot), status: "CANCELLED" }));
      }
      expect(calls).to.have.length(201);
      if (blocked) connection.unblock();
      expect(connection.closed).to.equal(false);
      await turn();
      collectGarbage();
      const alive = calls.filter((call) => call.deref() !== undefined);
      expect(alive.length).to.be.below(20);
    });
  }

  it("refuses messages in part that the reassembly budget has no room for", async () => {
    const peer = await Peer.of("accepting", {}, { reassemblyBytes: 100_000 });
    const begin = (slot: number, total: number): void =>
      peer.say({ ...open(slot), total, message: "0a", more: true, last: undefined } as never);
    // One may always be sent, however long.
    begin(0, 4 << 20);
    peer.say({ type: "RESET", stream: stream(0), status: "CANCELLED" });
    begin(1, 60_000);
    begin(2, 40_000);
    expect(peer.endpoint.connection.closed).to.equal(false);
    begin(3, 2);
    expect(peer.takeAll()).to.deep.include({
      type: "GOAWAY",
      status: "RESOURCE_EXHAUSTED",
      accepted: 4,
      text: "messages in part of 100002 bytes in all are over the limit of 100000 (reassemblyBytes)",
    });
    expect(peer.endpoint.connection.closed).to.equal(true);
  });

  it("takes a message that has begun beyond its stream's window, and then no other", async () => {
    const peer = await Peer.of("accepting", {}, { streamWindowBytes: 65536 });
    const call = { type: "OPEN", stream: stream(0), method: 0, name: "sluice.Vectors/Bidi" } as const;
    peer.say(call);
    const message = payload(200_000);
    const part = (from: number, to: number): string => message.slice(2 * from, 2 * to);
    peer.say({ type: "DATA", stream: stream(0), total: 200_000, message: part(0, 60_000), more: true });
    for (let at = 60_000; at < 180_000; at += 60_000) {
      peer.say({ type: "DATA", stream: stream(0), message: part(at, at + 60_000), more: true });
    }
    expect(peer.takeAll()).to.deep.equal([]);
    peer.say({ type: "DATA", stream: stream(0), message: part(180_000, 200_000) });
    // The program reads ahead by one. Then all that it cost is given back, and what the OPEN cost before.
    const cost = 12 + 2 + "sluice.Vectors/Bidi".length + 4 + 200_000 + 4 * 12;
    expect(peer.takeAll()).to.deep.equal([{ type: "CREDIT", stream: stream(0), bytes: cost }]);
    // A message that is not taken, which leaves nothing of the window; then no byte more.
    peer.say({
      type: "DATA",
      stream: stream(0),
      total: 65536,
      message: payload(65536).slice(0, 100),
      more: true,
    });
    peer.say({ type: "DATA", stream: stream(0), message: payload(65536).slice(100) });
    expect(peer.endpoint.connection.closed).to.equal(false);
    peer.say({ type: "DATA", stream: stream(0), message: "" });
    expect(peer.takeAll().at(-1)).to.deep.include({ type: "GOAWAY", status: "INTERNAL" });
  });

  it("ends a call that has exceeded its stream's window", async () => {
    const peer = await Peer.of("accepting", { streamWindowBytes: 65536 });
    peer.say(open(0));
    await peer.endpoint.act(peer.endpoint.accepted[0], { respond: payload(100_000) });
    expect(peer.takeAll().map(({ type }) => type)).to.deep.equal(["DATA", "DATA", "END"]);
  });

  it("sends large messages one after another, in the order in which they came", async () => {
    const peer = await Peer.of("connecting", { connectionWindowBytes: 65536, reassemblyBytes: 200_000 });
    await makeAtOnce(peer, [100_000, 120_000, 70_000]);
    expect(peer.takeAll().map(slotOf)).to.deep.equal([0, 0, 1, 1, 2, 2]);
  });

  it("begins none in the room that a dropped one leaves before the peer has been told of that", async () => {
    const peer = await Peer.of("connecting", { connectionWindowBytes: 65536, reassemblyBytes: 200_000 });
    const { endpoint } = peer;
    const dropped = await endpoint.make({ call: "unary", request: payload(150_000) });
    endpoint.connection.block();
    peer.say({ type: "CREDIT", stream: null, bytes: 16 << 20 });
    await endpoint.act(dropped, { cancel: true });
    endpoint.connection.makeRoom();
    await endpoint.make({ call: "unary", request: payload(150_000) });
    endpoint.connection.unblock();
    const sent = peer.takeAll().map((frame) => [frame.type, slotOf(frame)]);
    expect(sent).to.deep.equal([
      ["OPEN", 0],
      ["RESET", 0],
      ["OPEN", 1],
      ["DATA", 1],
      ["DATA", 1],
    ]);
  });

  it("has larger ones take turns by the MiB, and those wait that there is no room to reassemble for", async () => {
    const MiB = 1 << 20;
    const peer = await Peer.of("connecting", { connectionWindowBytes: 65536, reassemblyBytes: 6.5 * MiB });
    await makeAtOnce(peer, [2.5 * MiB, 3 * MiB, 2 * MiB, 100_000]);
    const turns: { slot: number; bytes: number }[] = [];
    for (const frame of peer.takeAll()) {
      const slot = slotOf(frame);
      if (turns.at(-1)?.slot !== slot) turns.push({ slot, bytes: 0 });
      turns.at(-1)!.bytes += (frame as { message: string }).message.length / 2;
    }
    // The third would exceed the budget until the first is whole, and the fourth must not overtake it.
    expect(turns.map(({ slot }) => slot)).to.deep.equal([0, 1, 0, 1, 0, 2, 3, 1, 2]);
    for (const { bytes } of turns.slice(0, 4)) expect(bytes).to.be.within(MiB, MiB + 65 * 1024);
  });
});

/** Calls with requests of these sizes, all of which wait until the first may go on. */
async function makeAtOnce(peer: Peer, sizes: readonly number[]): Promise<void> {
  const { connection } = peer.endpoint;
  for (const [index, bytes] of sizes.entries()) {
    await peer.endpoint.make({ call: "unary", request: payload(bytes) });
    // It has begun, and has used up the connection's credit.
    if (index === 0) {
      connection.block();
      peer.say({ type: "CREDIT", stream: null, bytes: 16 << 20 });
    }
  }
  connection.unblock();
}

function slotOf(frame: Frame): number {
  return (frame as Extract<Frame, { type: "OPEN" | "DATA" }>).stream.slot;
}
