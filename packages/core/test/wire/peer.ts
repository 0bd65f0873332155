import { expect } from "chai";
import type { Limits } from "@sluice/core";
import { Endpoint } from "./endpoint.js";
import { encodeFrame, FrameReader, type Frame, type Side } from "./frame.js";

export type Hello = Extract<Frame, { type: "HELLO" }>;

/** The HELLO of an endpoint with default limits. */
export const HELLO: Hello = {
  type: "HELLO",
  version: 1,
  lowestVersion: 1,
  maxFrameBytes: 65 * 1024,
  maxMessageBytes: 4 << 20,
  maxMetadataBytes: 16 << 10,
  maxConcurrentStreams: 1024,
  streamWindowBytes: 256 << 10,
  connectionWindowBytes: 16 << 20,
  reassemblyBytes: 8 << 20,
  traits: [],
};

/** The other end of an endpoint's connection, which says what the test likes. */
export class Peer {
  readonly #reader = new FrameReader();

  private constructor(readonly endpoint: Endpoint) {}

  /** The peer of an endpoint on `side`, after both HELLOs. */
  static async of(side: Side, hello: Partial<Hello> = {}, limits: Partial<Limits> = {}): Promise<Peer> {
    const { endpoint, ready } = await Endpoint.start(side, limits);
    const peer = new Peer(endpoint);
    expect(peer.take().type).to.equal("HELLO");
    peer.say({ ...HELLO, ...hello });
    await ready;
    return peer;
  }

  say(frame: Frame): void {
    this.endpoint.connection.receive(encodeFrame(frame));
  }

  /** The next frame that the endpoint sent. */
  take(): Frame {
    const bytes = this.endpoint.connection.sent.shift();
    if (bytes === undefined) throw new Error("nothing was sent");
    return this.#reader.read(Buffer.from(bytes));
  }

  /** All frames that the endpoint has sent. */
  takeAll(): Frame[] {
    return this.endpoint.connection.sent.splice(0).map((bytes) => this.#reader.read(Buffer.from(bytes)));
  }
}

/** An encoded Payload whose encoding takes `length` bytes. */
export function payload(length: number): string {
  const digits = length - 2 < 0x80 ? 1 : length - 3 < 0x4000 ? 2 : 3;
  const body = length - 1 - digits;
  const size: number[] = [];
  for (let rest = body, i = 0; i < digits; i++, rest >>>= 7) {
    size.push((rest & 0x7f) | (i < digits - 1 ? 0x80 : 0));
  }
  return Buffer.concat([Buffer.from([0x0a, ...size]), Buffer.alloc(body, 1)]).toString("hex");
}
