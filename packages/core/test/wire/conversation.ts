import { expect } from "chai";
import type { Limits } from "@sluice/core";
import { turn } from "./carrier.js";
import { Endpoint, type Action, type Call, type Making, type Sight } from "./endpoint.js";
import { encodeFrame, FrameReader, type Frame, type Side, type StatusName } from "./frame.js";
import { HELLO, type Hello } from "./peer.js";

/** One step of a conversation, in order. */
export type Step =
  /** A frame travels. */
  | {
      readonly from: Side;
      readonly hex: string;
      readonly frame: Frame;
      /** The bytes are one of several encodings of the frame, and not the one that the reference sends. */
      readonly variant?: true;
      /** It is sent as many times. */
      readonly repeat?: number;
    }
  /** Bytes that no frame has. */
  | { readonly from: Side; readonly hex: string; readonly malformed: true }
  /** This side ends the connection: it sends GOAWAY with this, and a text of its own, and closes. */
  | { readonly at: Side; readonly refuses: { readonly status: StatusName; readonly accepted: number } }
  /** The program at one side acts on a call (`on`: its name in this conversation). */
  | { readonly at: Side; readonly on: string; readonly does: Making | Action }
  /** It sees something of a call. */
  | { readonly at: Side; readonly on: string; readonly sees: Sight }
  /** It closes its channel or server. */
  | { readonly at: Side; readonly does: "close" }
  /** The connection is closed by this side, or by the carrier. */
  | { readonly at: Side; readonly sees: "closed" }
  /** Time passes, in milliseconds. */
  | { readonly passes: number };

/** A test vector: what two ends say to each other, and what their programs do and see meanwhile. */
export interface Conversation {
  readonly name: string;
  readonly description: string;
  /** Limits of the two ends that are not the defaults. */
  readonly limits?: { readonly [side in Side]?: Partial<Limits> };
  /** The largest frame of the connection, if not 66,560 bytes. */
  readonly maxFrameBytes?: number;
  /** Keepalive of the connecting end. */
  readonly keepalive?: { readonly intervalMs: number; readonly timeoutMs: number };
  /** The ends that behave exactly so: an end that is not among them may do so, but the reference does not. */
  readonly sides?: readonly Side[];
  /** Whether the steps begin with the HELLOs. Otherwise those of the limits have been exchanged before. */
  readonly hello?: true;
  readonly steps: readonly Step[];
}

export const SIDES = ["connecting", "accepting"] as const;

/** Check that each frame and its description say the same. */
export function checkFrames({ steps }: Conversation): void {
  const readers = { connecting: new FrameReader(), accepting: new FrameReader() };
  for (const step of steps) {
    if (!("frame" in step)) continue;
    expect(readers[step.from].read(Buffer.from(step.hex, "hex")), step.hex).to.deep.equal(step.frame);
    if (step.variant !== true) expect(encodeFrame(step.frame).toString("hex")).to.equal(step.hex);
  }
}

/** Let the reference implementation be one side of a conversation. It must say and see exactly what is written there. */
export async function play(conversation: Conversation, side: Side): Promise<void> {
  const other = side === "connecting" ? "accepting" : "connecting";
  const { limits = {}, maxFrameBytes = HELLO.maxFrameBytes, keepalive, hello, steps } = conversation;
  const { endpoint, ready } = await Endpoint.start(
    side,
    limits[side],
    keepalive !== undefined && side === "connecting" ? { keepalive } : {},
    maxFrameBytes,
  );
  const { connection, clock } = endpoint;
  if (hello !== true) {
    connection.sent.shift();
    connection.receive(encodeFrame({ ...helloOf(limits[other]), maxFrameBytes }));
    await ready;
  }
  const calls = new Map<string, Call>();
  for (const [index, step] of steps.entries()) {
    const where = `step ${index}`;
    if ("passes" in step) clock.advance(step.passes);
    else if ("hex" in step) {
      if (step.from === other) {
        const times = "frame" in step ? (step.repeat ?? 1) : 1;
        for (let i = 0; i < times; i++) connection.receive(Buffer.from(step.hex, "hex"));
      } else {
        const sent = connection.sent.shift();
        expect(sent && Buffer.from(sent).toString("hex"), where).to.equal(step.hex);
      }
    } else if (step.at !== side) continue;
    else if ("refuses" in step) {
      const sent = connection.sent.shift();
      const goaway = sent && new FrameReader().read(Buffer.from(sent));
      expect(goaway, where).to.include({ type: "GOAWAY", ...step.refuses });
      expect(connection.closed, where).to.equal(true);
    } else if (!("on" in step)) {
      if ("does" in step) await endpoint.close();
      else expect(connection.closed, where).to.equal(true);
    } else if ("does" in step) {
      if ("call" in step.does) calls.set(step.on, await endpoint.make(step.does));
      else await endpoint.act(calls.get(step.on)!, step.does);
    } else {
      if ("call" in step.sees) calls.set(step.on, endpoint.accepted.shift()!);
      expect(calls.get(step.on)?.seen.shift(), where).to.deep.equal(step.sees);
    }
    await turn();
  }
  expect(
    connection.sent.map((frame) => Buffer.from(frame).toString("hex")),
    "frames left",
  ).to.deep.equal([]);
  expect(endpoint.accepted, "calls left").to.deep.equal([]);
  for (const [name, { seen }] of calls) expect(seen, `what ${name} saw besides`).to.deep.equal([]);
}

/** The HELLO of an end with these limits. */
function helloOf(limits: Partial<Limits> = {}): Hello {
  const { handshakeTimeoutMs: _h, maxQueuedCalls: _q, ...offers } = limits;
  const reassemblyBytes = 2 * (limits.maxMessageBytes ?? HELLO.maxMessageBytes);
  return { ...HELLO, reassemblyBytes, ...offers };
}
