/**
 * Frames at random: true to the wire for the most part, so that they get far, and broken here and there. `SLUICE_SEED`
 * repeats a run, `SLUICE_FRAMES` lengthens it.
 */
import { expect } from "chai";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { descriptors } from "../processes.js";
import { onEveryCarrier, sharedLink, SOON } from "../suite.js";
import { until, within } from "../within.js";
import { Random } from "./random.js";
import {
  Flag,
  frame,
  HEADER_BYTES,
  hello,
  open,
  openAgain,
  part,
  RawPeer,
  streamId,
  Type,
  u32,
  type Frame,
} from "./raw.js";

const FRAMES = Number(process.env["SLUICE_FRAMES"] ?? 100_000);
const SEED = Number(process.env["SLUICE_SEED"] ?? Math.floor(Math.random() * 0xffff_ffff));
const GROWTH = 64 << 20;

const METHODS = [
  "grpc.testing.TestService/EmptyCall",
  "grpc.testing.TestService/UnaryCall",
  "grpc.testing.TestService/StreamingInputCall",
  "grpc.testing.TestService/FullDuplexCall",
  "sluice.testing.Probe/Hold",
  "sluice.testing.Probe/Echo",
  "sluice.testing.Probe/Consume",
  "sluice.testing.Probe/Exchange",
  "no.such.Service/Method",
];

/** A slot's stream, as a good client knows it. */
interface OwnStream {
  readonly id: number;
  ended: boolean;
  answered: boolean;
}

/** Makes the frames of one connection: a good client's, but for about one in fifty. */
class Conversation {
  /** A frame was sent whose end the server cannot find: what follows says nothing. */
  misaligned = false;
  readonly #random: Random;
  readonly #named: string[] = [];
  readonly #slots: OwnStream[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** Learn from a frame of the server which slots are free. */
  onFrame({ type, stream }: Frame): void {
    const own = this.#slots[(stream >>> 1) & 0xffff];
    if (own?.id === stream && (type === Type.END || type === Type.RESET)) own.answered = true;
  }

  next(): Buffer {
    const random = this.#random;
    const bytes = this.#valid();
    if (!random.chance(2)) return bytes;
    switch (random.below(7)) {
      case 0: // a bit of it, but not of its length
        bytes[4 + random.below(8 + bytes.readUInt32LE(0))]! ^= 1 << random.below(8);
        return bytes;
      case 1: // again
        return Buffer.concat([bytes, bytes]);
      case 2: // another header
        random.bytes(HEADER_BYTES - 4).copy(bytes, 4);
        return bytes;
      case 3: // another type
        bytes[8] = random.below(12);
        return bytes;
      case 4: // another length
        this.misaligned = true;
        bytes.writeUInt32LE(random.chance(50) ? random.below(0xffff_ffff) : random.below(100), 0);
        return bytes;
      case 5: // cut short
        this.misaligned = true;
        return bytes.subarray(0, random.below(bytes.length));
      default:
        this.misaligned = true;
        return random.bytes(1 + random.below(60));
    }
  }

  #valid(): Buffer {
    const random = this.#random;
    const stream = this.#slots.length > 0 ? random.pick(this.#slots) : undefined;
    const choice = stream === undefined ? 0 : random.below(12);
    if (choice < 4 || stream === undefined) return this.#openFrame();
    if (choice < 8 && !stream.ended) return this.#streamFrame(stream);
    switch (choice) {
      case 8:
      case 9:
        return frame({
          type: Type.CREDIT,
          stream: random.chance(50) ? 0 : stream.id,
          payload: u32(random.below(1000)),
        });
      case 10:
        return frame({ type: random.chance(80) ? Type.PING : Type.PONG, payload: random.bytes(8) });
      default:
        return frame({
          type: 11 + random.below(240),
          flags: Flag.OPTIONAL | random.below(128),
          stream: random.below(0xffff_ffff),
          aux: random.below(0xffff),
          payload: random.bytes(random.below(50)),
        });
    }
  }

  #openFrame(): Buffer {
    const random = this.#random;
    const slot = random.below(64);
    const last = this.#slots[slot];
    if (last !== undefined && !(last.ended && last.answered)) return this.#streamFrame(last);
    // Slots are an array without holes.
    const at = Math.min(slot, this.#slots.length);
    const before = this.#slots[at];
    if (before !== undefined && !(before.ended && before.answered)) return this.#streamFrame(before);
    const id = streamId(at, before === undefined ? 1 : (before.id >>> 17) + 1);
    let flags = Flag.MESSAGE;
    const parts: Buffer[] = [];
    if (random.chance(30)) {
      flags |= Flag.TIMEOUT;
      parts.push(u32(random.below(100)));
    }
    if (random.chance(30)) {
      flags |= Flag.METADATA;
      parts.push(part(Buffer.concat([Buffer.from([1, 0x61]), part("value")])));
    }
    if (random.chance(60)) flags |= Flag.LAST;
    this.#slots[at] = { id, ended: (flags & Flag.LAST) !== 0, answered: false };
    parts.push(this.#message());
    const path = random.pick(METHODS);
    const known = this.#named.indexOf(path);
    if (known >= 0) return openAgain(id, known, flags, Buffer.concat(parts));
    this.#named.push(path);
    return open(id, this.#named.length - 1, path, flags, Buffer.concat(parts));
  }

  /** Another frame of a stream, or a PING if this side has ended it. */
  #streamFrame(stream: OwnStream): Buffer {
    const random = this.#random;
    if (stream.ended) return frame({ type: Type.PING, payload: Buffer.alloc(8) });
    const payload = this.#message();
    switch (random.below(5)) {
      case 0:
        stream.ended = true;
        return frame({ type: Type.END, stream: stream.id });
      case 1:
        stream.ended = true;
        return frame({ type: Type.RESET, stream: stream.id, aux: random.below(17) });
      case 2: {
        const first = Buffer.concat([u32(payload.length + 10), payload]);
        return Buffer.concat([
          frame({ type: Type.DATA, stream: stream.id, flags: Flag.MORE, payload: first }),
          frame({ type: Type.DATA, stream: stream.id, payload: random.bytes(10) }),
        ]);
      }
      default:
        stream.ended = random.chance(20);
        return frame({ type: Type.DATA, stream: stream.id, flags: stream.ended ? Flag.LAST : 0, payload });
    }
  }

  /** An encoded message: nothing, some field, or noise. */
  #message(): Buffer {
    const random = this.#random;
    if (random.chance(40)) return Buffer.alloc(0);
    if (random.chance(50)) return Buffer.concat([Buffer.from([0x12, 10]), random.bytes(10)]);
    return random.bytes(random.below(40));
  }
}

onEveryCarrier(
  "frames at random",
  (carrier) => {
    const link = sharedLink(carrier);
    const frames = carrier.costly === true ? FRAMES / 10 : FRAMES;

    it(`${frames} of them do no harm (SLUICE_SEED=${SEED})`, async function () {
      this.timeout(30_000 + 5 * frames);
      const probe = link().channel.client(ProbeDefinition);
      const before = await within(SOON, probe.report({}), "a report");
      const random = new Random(SEED);
      let connections = 0;
      let goaways = 0;
      for (let sent = 0; sent < frames; connections++) {
        const peer = await RawPeer.connect(link().address!);
        if (random.chance(95)) peer.send(hello());
        const conversation = new Conversation(random);
        peer.onFrame = (received) => conversation.onFrame(received);
        while (!peer.ended && !conversation.misaligned && sent < frames && !random.chance(1)) {
          const next = Array.from({ length: 1 + random.below(10) }, () => conversation.next());
          sent += next.length;
          peer.send(...next);
          if (!conversation.misaligned) await peer.settled();
        }
        await peer.end();
        if (peer.goaway !== undefined) {
          goaways++;
          expect(peer.goaway.text).not.to.equal("");
        }
        if (connections % 50 === 0) {
          const call = link().channel.client(TestServiceDefinition).emptyCall({});
          await within(SOON, call, "a call of another client");
        }
      }
      await within(SOON, probe.settle({}), "the end of every handler");
      const after = await within(SOON, probe.report({}), "a report");
      expect(Number(after.residentBytes - before.residentBytes), "growth of the server").to.be.below(GROWTH);
      const pid = link().server!.pid;
      await until(
        SOON,
        () => descriptors(pid) <= before.descriptors,
        () => `${descriptors(pid)} descriptors in the server, ${before.descriptors} before`,
      );
      // Most connections must have got far, and many must have ended by a violation (of which who closes at once may not hear):
      // else this tests nothing.
      expect(connections).to.be.below(frames / 5);
      expect(goaways).to.be.above(connections / 5);
    });
  },
  ({ name }) => RawPeer.carriers.includes(name),
);
