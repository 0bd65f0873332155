import { Channel, type EndpointOptions, type Implementation, type Limits } from "@sluice/core";
import type { Session, SessionUsage } from "#core/session.js";
import { FrameType, HelloTrait, writeHeader, writeHello, type Hello } from "#core/wire.js";
import { frameOf, type Frame, type LinkOptions, type SimulatedConnection } from "./simulation/link.js";
import { TestDefinition, type Part } from "./simulation/service.js";
import { Simulation } from "./simulation/simulation.js";

export { FrameType, HelloTrait };

export const IDLE: SessionUsage = {
  localStreams: 0,
  remoteStreams: 0,
  handlers: 0,
  unreturnedBytes: 0,
  partialMessages: 0,
  partialBytes: 0,
  sentPartialBytes: 0,
};

type TestImplementation = Implementation<typeof TestDefinition>;

/** Handlers that answer with what they were asked. */
export const echo: TestImplementation = {
  unary: (part) => part,
  async *serverStream(part) {
    yield part;
  },
  async clientStream(parts) {
    let last: Part = { index: 0, data: new Uint8Array(0) };
    for await (const part of parts) last = part;
    return last;
  },
  async *bidi(parts) {
    yield* parts;
  },
};

export interface EndOptions extends EndpointOptions {
  /** Put over the completed limits, unchecked: tests use windows smaller than users may. */
  readonly unchecked?: Partial<Limits>;
  readonly implementation?: Partial<TestImplementation>;
}

/** A channel on one end of a simulated link, that offers the test service. */
export function channelOn(
  simulation: Simulation,
  connection: SimulatedConnection,
  connecting: boolean,
  options: EndOptions = {},
): Channel {
  const { unchecked, implementation, ...endpoint } = options;
  const channel = new Channel({ address: "sim:link", options: endpoint, clock: simulation.clock });
  Object.assign(channel, { limits: { ...channel.limits, ...unchecked } });
  channel.add(TestDefinition, { ...echo, ...implementation });
  channel.attach(connection, connecting);
  return channel;
}

/** Two channels on one link, past their handshake. The client made the connection; both offer the test service. */
export async function connectPair(
  options: { client?: EndOptions; server?: EndOptions; link?: LinkOptions; seed?: number } = {},
) {
  const simulation = new Simulation(options.seed ?? 1);
  const [near, far] = simulation.link(options.link);
  const client = channelOn(simulation, near, true, options.client);
  const server = channelOn(simulation, far, false, options.server);
  await simulation.runUntil(() => client.state === "ready" && server.state === "ready");
  return {
    simulation,
    near,
    far,
    client,
    server,
    calls: client.client(TestDefinition),
    usage: () => [usageOf(near), usageOf(far)],
  };
}

/** What the session on a connection holds. */
export function usageOf(connection: SimulatedConnection): SessionUsage {
  return (connection.handler as Session).usage;
}

export const HELLO: Hello = {
  lowestVersion: 1,
  version: 1,
  maxFrameBytes: 16 << 10,
  maxMessageBytes: 4 << 20,
  maxMetadataBytes: 16 << 10,
  maxConcurrentStreams: 100,
  streamWindowBytes: 256 << 10,
  connectionWindowBytes: 1 << 20,
  reassemblyBytes: 8 << 20,
  traits: 0,
};

/** A peer that speaks the wire by hand, and need not keep its rules. */
export class RawPeer {
  readonly connection: SimulatedConnection;
  readonly simulation: Simulation;
  /** What has arrived, HELLO included. */
  readonly frames: Frame[] = [];
  closed = false;

  constructor(simulation: Simulation, connection: SimulatedConnection) {
    this.simulation = simulation;
    this.connection = connection;
    connection.start({
      onFrame: (memory, start, end) => void this.frames.push(frameOf(memory.slice(start, end))),
      onWritable: () => {},
      onClose: () => void (this.closed = true),
    });
  }

  send(
    type: number,
    frame: { stream?: number; flags?: number; aux?: number; payload?: Uint8Array | readonly number[] } = {},
  ): void {
    const { stream = 0, flags = 0, aux = 0, payload = [] } = frame;
    const bytes = new Uint8Array(12 + payload.length);
    bytes.set(payload, writeHeader(bytes, 0, payload.length, stream, type, flags, aux));
    this.connection.inject(bytes);
  }

  hello(changes: Partial<Hello> = {}): void {
    const bytes = new Uint8Array(256);
    this.connection.inject(bytes.slice(0, writeHello(bytes, 0, { ...HELLO, ...changes })));
  }

  /** Frames of a type that have arrived, oldest first. */
  received(type: number): Frame[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  /** The status and text of the GOAWAY that arrived; fails if none has. */
  get goaway(): { code: number; accepted: number; text: string } {
    const frame = this.received(FrameType.GOAWAY)[0];
    if (frame === undefined) throw new Error("no GOAWAY has arrived");
    const { payload, aux } = frame;
    const view = new DataView(payload.buffer, payload.byteOffset);
    return {
      code: aux,
      accepted: view.getUint32(0, true),
      text: new TextDecoder().decode(payload.subarray(4)),
    };
  }
}

/** A channel past its handshake with a peer that the test plays. By default the test is the client. */
export async function connectRaw(
  options: { end?: EndOptions; link?: LinkOptions; channelConnects?: boolean; hello?: Partial<Hello> } = {},
) {
  const simulation = new Simulation(1);
  const [near, far] = simulation.link(options.link);
  const channel = channelOn(simulation, near, options.channelConnects ?? false, options.end);
  const peer = new RawPeer(simulation, far);
  peer.hello(options.hello);
  await simulation.run(0);
  return { simulation, channel, peer, connection: near, usage: () => usageOf(near) };
}

/** The error of a promise that must reject. */
export async function rejection(
  promise: Promise<unknown>,
): Promise<Error & { code: number; mayHaveRun: boolean }> {
  try {
    await promise;
  } catch (error) {
    return error as Error & { code: number; mayHaveRun: boolean };
  }
  throw new Error("it did not reject");
}

export function part(index: number, size = 0): Part {
  return { index, data: new Uint8Array(size).fill(index) };
}
