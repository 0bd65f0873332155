/** Frames that break a rule of the wire: the connection ends with a GOAWAY that says which, and no other is harmed. */
import { expect } from "chai";
import { Status } from "@sluice/node";
import type { Link } from "../carriers.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { onEveryCarrier, sharedLink, SOON, WINDOWS } from "../suite.js";
import { within } from "../within.js";
import { Flag, frame, hello, open, openAgain, part, RawPeer, streamId, Type, u16, u32 } from "./raw.js";

const UNARY = "grpc.testing.TestService/UnaryCall";
const HOLD = "sluice.testing.Probe/Hold";
const CONSUME = "sluice.testing.Probe/Consume";
const PRODUCE = "sluice.testing.Probe/Produce";

/** A Chunk that makes Consume wait: field 3, a string. */
const HELD = Buffer.from([0x1a, 1, 0x77]);
/** A Chunk of 48 KiB: field 2, bytes. */
const BODY = Buffer.concat([Buffer.from([0x12, 0x80, 0x80, 0x03]), Buffer.alloc(48 << 10)]);

/** What to send after a good HELLO, and what the GOAWAY must say. */
const VIOLATIONS: readonly [name: string, frames: readonly Buffer[], says: RegExp][] = [
  ["a second HELLO", [hello()], /second HELLO/],
  ["an unknown type", [frame({ type: 77 })], /unknown type 77/],
  ["type 0", [frame({ type: 0 })], /unknown type 0/],
  [
    "a frame over the limit",
    [frame({ type: Type.DATA, stream: streamId(0), length: 0x7fff_ffff })],
    /2147483647 bytes/,
  ],
  [
    "an OPEN with the parity of the other side",
    [open(streamId(0) & ~1, 0, UNARY, Flag.LAST | Flag.MESSAGE)],
    /parity/,
  ],
  ["an OPEN of stream 0", [open(0, 0, UNARY, Flag.LAST | Flag.MESSAGE)], /OPEN of stream 0/],
  ["an OPEN beyond the slots", [open(streamId(1024), 0, UNARY, Flag.LAST)], /1024/],
  ["an OPEN with generation 0", [open(streamId(0, 0), 0, UNARY, Flag.LAST)], /generation/],
  ["an OPEN with a generation to come", [open(streamId(0, 2), 0, UNARY, Flag.LAST)], /generation/],
  [
    "an OPEN of a slot in use",
    [open(streamId(0), 0, CONSUME), openAgain(streamId(0, 2), 0)],
    /slot is in use|generation/,
  ],
  [
    "a replayed OPEN",
    [
      open(streamId(0), 0, UNARY, Flag.LAST | Flag.MESSAGE),
      openAgain(streamId(0), 0, Flag.LAST | Flag.MESSAGE),
    ],
    /slot is in use|generation/,
  ],
  ["a method number that was never named", [openAgain(streamId(0), 5, Flag.LAST)], /method number 5/],
  ["a method number out of turn", [open(streamId(0), 3, UNARY, Flag.LAST)], /method number 3/],
  ["a method's name over 512 bytes", [open(streamId(0), 0, "x".repeat(513), Flag.LAST)], /512/],
  [
    "a method's name longer than its frame",
    [frame({ type: Type.OPEN, stream: streamId(0), flags: Flag.NAMED, payload: u16(100) })],
    /longer/,
  ],
  [
    "a timeout cut short",
    [open(streamId(0), 0, UNARY, Flag.TIMEOUT | Flag.LAST, Buffer.from([1, 2]))],
    /timeout/,
  ],
  [
    "metadata longer than its frame",
    [open(streamId(0), 0, UNARY, Flag.METADATA | Flag.LAST, u16(500))],
    /longer/,
  ],
  [
    "metadata over the limit",
    [open(streamId(0), 0, UNARY, Flag.METADATA | Flag.LAST, part(Buffer.alloc(17 << 10)))],
    /16384/,
  ],
  [
    "a metadata entry longer than its block",
    [open(streamId(0), 0, UNARY, Flag.METADATA | Flag.LAST, part(Buffer.from([200, 97])))],
    /metadata/,
  ],
  [
    "metadata with a bad name",
    [
      open(
        streamId(0),
        0,
        UNARY,
        Flag.METADATA | Flag.LAST,
        part(Buffer.concat([Buffer.from([2]), Buffer.from("a "), part("v")])),
      ),
    ],
    /metadata name/,
  ],
  ["bytes after an OPEN's parts", [open(streamId(0), 0, CONSUME, 0, Buffer.from("what?"))], /longer/],
  ["DATA on stream 0", [frame({ type: Type.DATA })], /not open/],
  ["DATA on a stream that was never open", [frame({ type: Type.DATA, stream: streamId(3) })], /not open/],
  [
    "DATA after LAST",
    [
      open(streamId(0), 0, PRODUCE, Flag.LAST | Flag.MESSAGE),
      frame({ type: Type.DATA, stream: streamId(0) }),
    ],
    /after the end/,
  ],
  [
    "a first fragment without its length",
    [
      open(streamId(0), 0, CONSUME),
      frame({ type: Type.DATA, stream: streamId(0), flags: Flag.MORE, payload: Buffer.from([1]) }),
    ],
    /too short/,
  ],
  [
    "a first fragment longer than its message",
    [
      open(streamId(0), 0, CONSUME),
      frame({
        type: Type.DATA,
        stream: streamId(0),
        flags: Flag.MORE,
        payload: Buffer.concat([u32(4), Buffer.alloc(10)]),
      }),
    ],
    /longer than its message/,
  ],
  [
    "fragments that are longer than their message",
    [
      open(streamId(0), 0, CONSUME),
      frame({
        type: Type.DATA,
        stream: streamId(0),
        flags: Flag.MORE,
        payload: Buffer.concat([u32(100), Buffer.alloc(50)]),
      }),
      frame({ type: Type.DATA, stream: streamId(0), payload: Buffer.alloc(51) }),
    ],
    /101|100/,
  ],
  [
    "fragments that are shorter than their message",
    [
      open(streamId(0), 0, CONSUME),
      frame({
        type: Type.DATA,
        stream: streamId(0),
        flags: Flag.MORE,
        payload: Buffer.concat([u32(100), Buffer.alloc(50)]),
      }),
      frame({ type: Type.DATA, stream: streamId(0), payload: Buffer.alloc(49) }),
    ],
    /99|100/,
  ],
  [
    "an END inside a message",
    [
      open(streamId(0), 0, CONSUME),
      frame({
        type: Type.DATA,
        stream: streamId(0),
        flags: Flag.MORE,
        payload: Buffer.concat([u32(100), Buffer.alloc(50)]),
      }),
      frame({ type: Type.END, stream: streamId(0) }),
    ],
    /inside a message/,
  ],
  [
    "an END with a payload",
    [
      open(streamId(0), 0, CONSUME),
      frame({ type: Type.END, stream: streamId(0), payload: Buffer.from("bye") }),
    ],
    /payload/,
  ],
  [
    "two ENDs",
    [
      // Its handler is held, so that the stream is still open at the second END.
      open(streamId(0), 0, CONSUME),
      frame({ type: Type.DATA, stream: streamId(0), payload: HELD }),
      frame({ type: Type.END, stream: streamId(0) }),
      frame({ type: Type.END, stream: streamId(0) }),
    ],
    /ended twice/,
  ],
  [
    "HEADERS from the side that opened",
    [
      open(streamId(0), 0, CONSUME),
      frame({ type: Type.HEADERS, stream: streamId(0), flags: Flag.METADATA, payload: part("") }),
    ],
    /HEADERS/,
  ],
  ["RESET of a stream that was never open", [frame({ type: Type.RESET, stream: streamId(9) })], /never open/],
  [
    "RESET with an unknown status",
    [open(streamId(0), 0, CONSUME), frame({ type: Type.RESET, stream: streamId(0), aux: 99 })],
    /99/,
  ],
  ["CREDIT of 3 bytes", [frame({ type: Type.CREDIT, payload: Buffer.alloc(3) })], /CREDIT/],
  [
    "CREDIT for a stream that was never open",
    [frame({ type: Type.CREDIT, stream: streamId(4), payload: u32(1) })],
    /never open/,
  ],
  [
    "CREDIT of the connection that overflows",
    [
      frame({ type: Type.CREDIT, payload: u32(0x7fff_ffff) }),
      frame({ type: Type.CREDIT, payload: u32(0x7fff_ffff) }),
    ],
    /overflow/,
  ],
  [
    "CREDIT of a stream that overflows",
    [
      open(streamId(0), 0, CONSUME),
      frame({ type: Type.CREDIT, stream: streamId(0), payload: u32(0xffff_ffff) }),
    ],
    /overflow/,
  ],
  ["PING of 7 bytes", [frame({ type: Type.PING, payload: Buffer.alloc(7) })], /8 bytes/],
  [
    "PING on a stream",
    [frame({ type: Type.PING, stream: streamId(0), payload: Buffer.alloc(8) })],
    /stream 0/,
  ],
  ["GOAWAY of 2 bytes", [frame({ type: Type.GOAWAY, payload: Buffer.alloc(2) })], /GOAWAY/],
  [
    "more than a stream's window",
    [
      open(streamId(0), 0, CONSUME),
      // Nothing behind a message that is held is consumed.
      frame({ type: Type.DATA, stream: streamId(0), payload: HELD }),
      ...Array.from({ length: 6 }, () => frame({ type: Type.DATA, stream: streamId(0), payload: BODY })),
    ],
    /window/,
  ],
];

/** First words that are no HELLO, or none that can be answered. */
const GREETINGS: readonly [name: string, bytes: Buffer, says: RegExp][] = [
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"), /Sluice|HELLO/],
  // Its ninth byte happens to be HELLO's type.
  ["TLS", Buffer.from("160301020001000001fc0303", "hex"), /Sluice|HELLO|33620758 bytes/],
  ["zeros", Buffer.alloc(1000), /Sluice|HELLO/],
  ["an OPEN", open(streamId(0), 0, UNARY, Flag.LAST | Flag.MESSAGE), /HELLO/],
  ["a HELLO with another magic", hello({ magic: "SLUICE\n\n" }), /Sluice/],
  [
    "a HELLO cut short",
    frame({ type: Type.HELLO, aux: 1, payload: Buffer.from("SLUICE\r\n") }),
    /HELLO|Sluice/,
  ],
  ["a HELLO of versions to come", hello({ lowestVersion: 2, version: 3 }), /version/],
  ["a HELLO of version 0", hello({ lowestVersion: 0, version: 0 }), /version/],
  ["a HELLO with windows of 0", hello({ streamWindowBytes: 0 }), /streamWindowBytes/],
  ["a HELLO with frames of 12 bytes", hello({ maxFrameBytes: 12 }), /maxFrameBytes/],
];

onEveryCarrier(
  "malformed frames",
  (carrier) => {
    const link = sharedLink(carrier, { server: WINDOWS });
    const others = (own: Link) =>
      within(SOON, own.channel.client(TestServiceDefinition).emptyCall({}), "a call on another connection");

    async function expectGoaway(peer: RawPeer, says: RegExp): Promise<void> {
      await within(SOON, peer.closed, "the server to close the connection");
      expect(peer.goaway, "a GOAWAY before the end").not.to.equal(undefined);
      expect(peer.goaway!.text).to.match(says);
      expect(peer.goaway!.code).not.to.equal(Status.OK);
      await others(link());
    }

    for (const [name, bytes, says] of GREETINGS) {
      it(`first ${name}`, async () => {
        const peer = await RawPeer.connect(link().address!);
        peer.send(bytes);
        await expectGoaway(peer, says);
      });
    }

    for (const [name, frames, says] of VIOLATIONS) {
      it(name, async () => {
        const peer = await RawPeer.greet(link().address!);
        peer.send(...frames);
        await expectGoaway(peer, says);
      });
    }

    it("an unknown type that is flagged optional is skipped", async () => {
      const peer = await RawPeer.greet(link().address!);
      peer.send(
        frame({ type: 200, flags: Flag.OPTIONAL, stream: 12345, aux: 9, payload: Buffer.alloc(100) }),
      );
      await peer.settle();
      expect(peer.goaway).to.equal(undefined);
      await peer.end();
    });

    it("a message that cannot be decoded ends its call only", async () => {
      const peer = await RawPeer.greet(link().address!);
      peer.send(open(streamId(0), 0, UNARY, Flag.LAST | Flag.MESSAGE, Buffer.from([0x1a, 0xff, 0xff, 0x03])));
      const answer = await Promise.race([peer.next(Type.END), peer.next(Type.RESET)]);
      expect(answer.stream).to.equal(streamId(0));
      expect(answer.aux).not.to.equal(Status.OK);
      expect(peer.goaway).to.equal(undefined);
      peer.destroy();
    });

    it("a second request of a method that takes one ends its call, and its handler hears of it", async () => {
      const probe = link().channel.client(ProbeDefinition);
      const peer = await RawPeer.greet(link().address!);
      peer.send(open(streamId(0), 0, HOLD, Flag.MESSAGE), frame({ type: Type.DATA, stream: streamId(0) }));
      const answer = await peer.next(Type.END);
      expect(answer.aux).not.to.equal(Status.OK);
      expect(answer.payload.toString("utf8")).to.contain("one request");
      await within(SOON, probe.settle({}), "the end of the handler");
      peer.destroy();
    });

    it("a message that says it is over the limit ends its call only, at its first fragment", async () => {
      const peer = await RawPeer.greet(link().address!);
      const first = Buffer.concat([u32(0xffff_ffff), Buffer.alloc(100)]);
      peer.send(open(streamId(0), 0, UNARY, Flag.MESSAGE | Flag.MORE, first));
      const answer = await Promise.race([peer.next(Type.END), peer.next(Type.RESET)]);
      expect(answer.aux).to.equal(Status.RESOURCE_EXHAUSTED);
      expect(answer.payload.toString("utf8")).to.contain("4294967295");
      expect(peer.goaway).to.equal(undefined);
      peer.destroy();
    });
  },
  ({ name }) => RawPeer.carriers.includes(name),
);
