import { RpcError } from "@sluice/core";
import { makeFrame, Random, type Endpoint } from "@sluice/transport-contract";
import { PERFECT, type Path, type SimulatedNetwork } from "./network.js";
import { World } from "./world.js";

/** No run takes longer, in simulated milliseconds: whatever has not ended then is silence. */
const LIMIT_MS = 400_000;

/** How a path is, and whether it fails for good. */
function randomPath(random: Random): Path {
  const choose = <T>(...choices: T[]): T => choices[random.below(choices.length)]!;
  const bandwidth = choose(Infinity, Infinity, 12_500, 1250, 125);
  return {
    ...PERFECT,
    delayMs: choose(0, 0.1, 1, 10, 50, 150, 300),
    jitterMs: choose(0, 0, 0.5, 5, 40),
    loss: choose(0, 0, 0.01, 0.05, 0.1, 0.3),
    duplication: choose(0, 0, 0.02, 0.2),
    bandwidth,
    queueBytes: choose(20_000, 100_000, 1_000_000),
  };
}

function frameSize(random: Random): number {
  const kind = random.below(20);
  if (kind < 12) return 12 + random.below(200);
  if (kind < 18) return 12 + random.below(3000);
  return 12 + random.below(60_000);
}

/** What hosts say of their interfaces, and what paths carry of that. */
const INTERFACE_MTUS = [0, 1172, 1452, 1472, 8972, 65_507];
const PATH_MTUS = [1200, 1252, 1372, 1452, 1472, 8972, Infinity];

/** Gives `path` an MTU, and mostly another one later. */
function limitPath(random: Random, path: Path, network: SimulatedNetwork): void {
  const choose = <T>(choices: readonly T[]): T => choices[random.below(choices.length)]!;
  Object.assign(path, { interfaceMtu: choose(INTERFACE_MTUS), mtu: choose(PATH_MTUS) });
  if (random.below(3) > 0) network.at(random.below(5000), () => (path.mtu = choose(PATH_MTUS)));
}

/**
 * One world of the seed's: two ends send each other frames over whatever network it has drawn, and one of them closes. Every frame
 * arrives once and in order and both ends close, or, if the network fails for good, both ends say so. Throws if not. With `limited` false
 * all packets are short, and their paths carry all of them.
 */
export async function runSeed(
  seed: number,
  limited = true,
): Promise<{ packets: number; longest: number; outcome: string }> {
  const random = new Random(seed * 2654435761);
  const [there, back] = [randomPath(random), randomPath(random)];
  const secret = random.below(4) === 0 ? new Uint8Array(32).fill(seed) : undefined;
  const world = new World(random, back, secret);
  const { network } = world;
  let longest = 0;
  network.onPacket = (_, packet) => (longest = Math.max(longest, packet.length));
  if (limited) {
    const limits = new Random(seed);
    for (const path of [there, back]) limitPath(limits, path, network);
  }

  // Some worlds have a time without network, and in some it fails for good: one way, or both.
  const failure = ["none", "none", "none", "pause", "there", "back", "both"][random.below(7)]!;
  const from = random.below(3000);
  const to = failure === "pause" ? from + random.below(20_000) : Infinity;
  if (failure !== "none" && failure !== "back") Object.assign(there, { downFrom: from, downTo: to });
  if (failure !== "none" && failure !== "there") Object.assign(back, { downFrom: from, downTo: to });
  // Whoever closes does not wait for as long as some pauses last.
  const lasting = failure !== "none" && (failure !== "pause" || to - from > 4000);
  const harsh = failure === "pause" || there.loss + back.loss >= 0.3;

  let near: Endpoint;
  let far: Endpoint;
  try {
    ({ near, far } = await world.connect(there));
  } catch (error) {
    if ((lasting || harsh) && /no answer|never accepted/.test(String(error))) {
      return { packets: network.packets, longest, outcome: "not connected" };
    }
    throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
  }

  const sizes = [near, far].map(() => Array.from({ length: random.below(60) }, () => frameSize(random)));
  const ends = [near, far];
  for (const [side, end] of ends.entries()) {
    const expected = sizes[1 - side]!;
    end.consume = (memory, start, stop) => {
      const index = end.frameCount - 1;
      const frame = expected[index] === undefined ? undefined : makeFrame(index, expected[index]);
      if (frame === undefined || Buffer.compare(frame, memory.subarray(start, stop)) !== 0) {
        end.violations.push(`frame ${index} is not the one that was sent`);
      }
    };
  }
  const sent = ends.map(async (end, side) => {
    for (const [index, size] of sizes[side]!.entries()) {
      const pause = random.below(8) === 0 ? random.below(300) : 0;
      if (pause > 0) await new Promise<void>((resolve) => network.at(network.now + pause, resolve));
      await end.sendAll([makeFrame(index, size)]);
    }
  });
  const finished = Promise.all([
    ...sent,
    near.received(sizes[1]!.length),
    far.received(sizes[0]!.length),
  ]).then(
    () => near.close(),
    () => undefined,
  );
  void finished;
  await network.run(LIMIT_MS, () => near.closeCount > 0 && far.closeCount > 0);

  const fault = (what: string): Error =>
    new Error(
      `seed ${seed}: ${what} (${JSON.stringify({ failure, from, to, there, back })}; near ${near.frameCount}/${sizes[1]!.length} ` +
        `${near.closeCount} ${String(near.closeError)}, far ${far.frameCount}/${sizes[0]!.length} ${far.closeCount} ` +
        `${String(far.closeError)}, ${network.packets} packets, ${Math.round(network.now)} ms)`,
    );
  for (const end of ends) {
    if (end.violations.length > 0) throw fault(end.violations[0]!);
    if (end.closeCount !== 1) throw fault("an end neither closed nor said that the other is gone");
    if (end.closeError !== undefined && !(end.closeError instanceof RpcError)) throw fault("not an RpcError");
  }
  const complete = near.frameCount === sizes[1]!.length && far.frameCount === sizes[0]!.length;
  const orderly = complete && near.closeError === undefined && far.closeError === undefined;
  if (!orderly && !lasting) throw fault("a connection was given up that a good network carried");
  return { packets: network.packets, longest, outcome: orderly ? "complete" : "declared dead" };
}
