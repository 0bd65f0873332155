import { RpcError } from "@sluice/core";
import { readU16 } from "@sluice/core/bytes";
import { makeFrame, Random, type Endpoint } from "@sluice/transport-contract";
import { PERFECT, type SimulatedSocket } from "./network.js";
import { World } from "./world.js";
import { Chunk, CHUNK_HEADER_BYTES, DATA_HEADER_BYTES, Type } from "#transports/udp/packet.js";

/** Packets of a good connection that are remembered, to be sent again and changed. */
const REMEMBERED = 400;
/** Bad packets between two frames of the good connection. */
const STEP = 25;

/**
 * Has both ends of a connection receive `count` packets that nobody sent them so: random, damaged, cut off, put together from others, sent again,
 * sent back, or from elsewhere. Throws if an end does anything but ignore them, end with words, or serve the next client. With a secret they are
 * all ignored.
 */
export async function fuzz(count: number, seed: number, secret?: Uint8Array): Promise<{ ended: number }> {
  const random = new Random(seed);
  const path = { ...PERFECT, interfaceMtu: 8972 };
  const world = new World(random, path, secret);
  const { network } = world;
  const stranger = network.socket("203.0.113.9", 1234, { ...PERFECT });
  const remembered: Uint8Array[] = [];
  network.onPacket = (_, packet) => {
    if (remembered.length < REMEMBERED) remembered.push(packet.slice());
    else remembered[random.below(REMEMBERED)] = packet.slice();
  };
  let ended = 0;
  let pair: { near: Endpoint; far: Endpoint; socket: SimulatedSocket } | undefined;
  /** Ends that were told where their peer's stream ends. Without a secret they cannot know that it was not their peer. */
  const told = new Set<Endpoint>();
  for (let done = 0; done < count; done += STEP) {
    if (pair === undefined || pair.near.closeCount + pair.far.closeCount > 0) {
      if (pair !== undefined) {
        ended++;
        // The other one is told, or, if somebody has used up the number of that packet, misses it after a while.
        for (const end of [pair.near, pair.far]) {
          const error = await world.until(end.closed);
          if (error instanceof RpcError || (error === undefined && told.has(end))) continue;
          throw new Error(`an end without words: ${String(error)}`);
        }
      }
      told.clear();
      pair = await world.connect({ ...path });
    }
    const { near, far, socket } = pair;
    // Sometimes enough for probes of the path.
    const bytes = (): number => 12 + random.below(random.below(20) === 0 ? 60_000 : 3000);
    near.send(makeFrame(near.frameCount, bytes()));
    far.send(makeFrame(far.frameCount, bytes()));
    for (let index = 0; index < STEP; index++) {
      const packet = badPacket(random, remembered);
      const from = [world.socket, socket, stranger][random.below(3)]!;
      const [to, end] = random.below(2) === 0 ? [world.socket, far] : [socket, near];
      if (secret === undefined && namesEnd(packet)) told.add(end);
      to.receive(packet, from.route);
    }
    await network.run(network.now + random.below(30));
  }
  if (secret !== undefined) {
    if (ended > 0) throw new Error(`${ended} connections with a secret were ended by strangers`);
    const { near, far } = pair!;
    const before = far.frameCount;
    near.send(makeFrame(0, 100));
    await world.until(far.received(before + 1));
    for (const { violations } of [near, far]) if (violations.length > 0) throw new Error(violations[0]);
  }
  return { ended };
}

/** Whether a packet says where a stream ends: docs/udp.md. */
function namesEnd(packet: Uint8Array): boolean {
  if (packet[0] !== Type.DATA) return false;
  for (let at = DATA_HEADER_BYTES; at < packet.length;) {
    const type = packet[at];
    if (type === Chunk.END) return true;
    if (type === Chunk.PING) at += 1;
    else if (type === Chunk.ACK) at += 18 + 4 * (packet[at + 15] ?? 0);
    else if (type === Chunk.DATA && at + CHUNK_HEADER_BYTES <= packet.length) {
      at += CHUNK_HEADER_BYTES + readU16(packet, at + 7);
    } else return false;
  }
  return false;
}

function badPacket(random: Random, remembered: readonly Uint8Array[]): Uint8Array {
  const pick = (): Uint8Array => remembered[random.below(remembered.length)]!;
  const packet = pick().slice();
  const kind = random.below(9);
  if (kind === 0)
    return Uint8Array.from({ length: random.below(random.below(10) === 0 ? 65_507 : 1300) }, () =>
      random.below(256),
    );
  if (kind === 1) return packet;
  if (kind === 2) return packet.slice(0, random.below(packet.length));
  if (kind === 3) {
    const other = pick();
    const at = random.below(Math.min(packet.length, other.length));
    return Uint8Array.from([...packet.subarray(0, at), ...other.subarray(at)]);
  }
  if (kind === 4) packet[0] = random.below(8);
  // A later number, so that it is looked into.
  if (kind >= 6 && packet[0] === 6 && packet.length > 15) packet[10]! += 1 + random.below(3);
  // PADDING that begins somewhere, with anything in it.
  if (kind === 8) {
    packet[DATA_HEADER_BYTES + random.below(Math.max(packet.length - DATA_HEADER_BYTES, 1))] = Chunk.PADDING;
    return packet;
  }
  for (let changes = random.below(4); changes >= 0; changes--) {
    const at = kind === 7 ? 15 + random.below(Math.max(packet.length - 15, 1)) : random.below(packet.length);
    if (at < packet.length) packet[at] = random.below(256);
  }
  return packet;
}
