import { makeFrame, Random } from "@sluice/transport-contract";
import { PERFECT, type Path } from "./network.js";
import { World } from "./world.js";
import { PACKET_BYTES } from "#transports/udp/packet.js";

/** 100 Mbit/s, 20 ms there and back, and a queue of one round trip's bytes. */
function path(loss: number): Path {
  return { ...PERFECT, delayMs: 10, loss, bandwidth: 12_500, queueBytes: 250_000 };
}
const ROUND_TRIP_MS = 20;

export interface Goodput {
  readonly loss: number;
  readonly megabitsPerSecond: number;
  /** The bound for Reno, with every packet acknowledged at once (Mathis, Semke, Mahdavi, Ott, 1997), or the link's rate. */
  readonly boundMegabitsPerSecond: number;
}

/** What arrives in `seconds` simulated seconds of sending as much as there is room for. */
export async function measureGoodput(loss: number, seconds: number, seed: number): Promise<Goodput> {
  const world = new World(new Random(seed), path(loss));
  const { near, far } = await world.connect(path(loss));
  let bytes = 0;
  far.consume = (_, start, end) => void (bytes += end - start);
  const frame = makeFrame(0, 16_000);
  const fill = (): void => {
    while (near.send(frame));
  };
  near.whenWritable = fill;
  fill();
  // Without the slow start.
  await world.network.run(world.network.now + 2000);
  const before = bytes;
  await world.network.run(world.network.now + seconds * 1000);
  const mathis = (PACKET_BYTES / ROUND_TRIP_MS) * Math.sqrt(3 / (2 * loss));
  const megabits = (bytesPerMs: number): number => (bytesPerMs * 8) / 1000;
  return {
    loss,
    megabitsPerSecond: megabits((bytes - before) / (seconds * 1000)),
    boundMegabitsPerSecond: megabits(Math.min(mathis, path(loss).bandwidth)),
  };
}

/** How long `calls` calls of 100 bytes take, one every 50 ms, on the same link: ascending, in round trips. */
export async function measureCalls(loss: number, calls: number, seed: number): Promise<number[]> {
  const world = new World(new Random(seed), path(loss));
  const { near, far } = await world.connect(path(loss));
  const frame = makeFrame(0, 100);
  far.consume = () => void far.send(frame);
  const begun: number[] = [];
  const took: number[] = [];
  near.consume = () => void took.push((world.network.now - begun[took.length]!) / ROUND_TRIP_MS);
  const { network } = world;
  for (let call = 0; call < calls; call++) {
    network.at(network.now + 50 * call, () => {
      begun.push(network.now);
      near.send(frame);
    });
  }
  await network.run(network.now + 50 * calls + 10_000);
  if (took.length < calls) throw new Error(`only ${took.length} of ${calls} calls were answered`);
  return took.sort((one, other) => one - other);
}
