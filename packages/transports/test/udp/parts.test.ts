import { expect } from "chai";
import { FRAME_HEADER_BYTES } from "@sluice/core";
import { readU32, writeU32 } from "@sluice/core/bytes";
import { makeFrame, Random } from "@sluice/transport-contract";
import { MAX_FRAME_BYTES } from "#transports/stream/connection.js";
import { Congestion } from "#transports/udp/congestion.js";
import { Deadlines } from "#transports/udp/deadlines.js";
import { LEAST_WINDOW_BYTES } from "#transports/udp/packet.js";
import { PacketBatch } from "#transports/udp/packet-batch.js";
import { RangeSet } from "#transports/udp/range-set.js";
import { MAX_EARLY_RANGES, ReceiveBuffer } from "#transports/udp/receive-buffer.js";
import { ReceivedPackets } from "#transports/udp/received-packets.js";
import { formatIp, portOf, routeTo } from "#transports/udp/route.js";
import { RoundTrip } from "#transports/udp/rtt.js";
import { SentPackets } from "#transports/udp/sent-packets.js";
import { LENGTH, NEXT, RECORD_HEADER_BYTES, SEGMENT } from "#transports/udp/socket.js";

describe("udp, its parts", () => {
  it("RangeSet is the set that it stands for", () => {
    const random = new Random(1);
    for (let round = 0; round < 50; round++) {
      const set = new RangeSet();
      const model = new Set<number>();
      for (let step = 0; step < 40; step++) {
        const start = random.below(100);
        const end = start + random.below(20);
        const adds = random.below(3) > 0;
        if (adds) set.add(start, end);
        else set.remove(start, end);
        for (let value = start; value < end; value++) {
          if (adds) model.add(value);
          else model.delete(value);
        }
        const values: number[] = [];
        for (let index = 0; index < set.count; index++) {
          const apart = index === 0 || set.start(index) > set.end(index - 1);
          if (!apart || set.start(index) >= set.end(index))
            throw new Error("ranges that touch, or are empty");
          for (let value = set.start(index); value < set.end(index); value++) values.push(value);
        }
        expect(values).to.deep.equal([...model].sort((one, other) => one - other));
        const had = Array.from({ length: 120 }, (_, value) => value).filter((value) => set.has(value));
        expect(had).to.deep.equal(values);
        const from = random.below(110);
        const to = from + 1 + random.below(10);
        const near = values.some((value) => value >= from - 1 && value <= to);
        expect(set.touches(from, to), `[${from}, ${to}) touches ${values.join()}`).to.equal(near);
      }
    }
  });

  it("Deadlines gives whoever is due, in time, also after they moved", () => {
    const random = new Random(2);
    const queue = new Deadlines<{ deadline: number; queueIndex: number }>();
    const all = Array.from({ length: 40 }, () => ({ deadline: Infinity, queueIndex: -1 }));
    for (let now = 0; now < 1000; now++) {
      const one = all[random.below(all.length)]!;
      const deadline = random.below(5) === 0 ? Infinity : now + 1 + random.below(50);
      const nearer = deadline < one.deadline;
      one.deadline = deadline;
      if (nearer) queue.expect(one);
      if (random.below(20) === 0) {
        queue.remove(one);
        one.deadline = Infinity;
      }
      for (let due = queue.take(now); due !== undefined; due = queue.take(now)) {
        expect(due.deadline).to.equal(now);
        due.deadline = now + 1 + random.below(30);
        if (random.below(2) === 0) queue.expect(due);
      }
      expect(Math.min(...all.map(({ deadline }) => deadline)), "nobody was forgotten").to.be.above(now);
    }
  });

  it("ReceivedPackets takes every number once, in any order, and none that is too old", () => {
    const random = new Random(3);
    const received = new ReceivedPackets();
    const taken = new Set<number>();
    for (let index = 0; index < 20_000; index++) {
      const number = Math.max(0, index - random.below(100));
      if (!received.isNew(number)) continue;
      expect(taken.has(number), `number ${number} a second time`).to.equal(false);
      taken.add(number);
      received.add(number, 0);
    }
    expect(taken.size).to.be.above(10_000);
    expect(received.isNew(19_000), "far below the oldest that is remembered").to.equal(false);
  });

  it("PacketBatch joins only full packets of equal length, and one that may be shorter", () => {
    const random = new Random(4);
    const batch = new PacketBatch();
    const route = routeTo("192.0.2.1", 1);
    const expected: { length: number; mark: number; full: boolean }[] = [];
    let packets = 0;
    let joined = 0;
    const send = (memory: Uint8Array, end: number): void => {
      const words = new Int32Array(memory.buffer);
      for (let at = 0; at < end; at += words[(at >> 2) + NEXT]!) {
        const [length, segment] = [words[(at >> 2) + LENGTH]!, words[(at >> 2) + SEGMENT]!];
        // What one call takes: udp(7), UDP_SEGMENT.
        expect(length).to.be.at.most(65_535 - 14 - 48);
        expect(Math.ceil(length / segment)).to.be.at.most(64);
        for (let from = 0; from < length; from += segment) {
          const packet = expected.shift()!;
          expect(Math.min(segment, length - from)).to.equal(packet.length);
          expect(memory[at + RECORD_HEADER_BYTES + from]).to.equal(packet.mark);
          const followed = from + segment < length;
          if (followed) joined++;
          expect(followed && !packet.full, "followed, though not full").to.equal(false);
        }
      }
    };
    const sender = { send };
    for (let longest = 1200; packets < 20_000; packets++) {
      if (random.below(20) === 0) longest = [1200, 1472, 8972, 16_320][random.below(4)]!;
      const start = batch.begin(sender, route, longest);
      const length = random.below(4) > 0 ? longest : 1 + random.below(longest);
      const full = length === longest && random.below(10) > 0;
      batch.memory[start] = packets & 0xff;
      expected.push({ length, mark: packets & 0xff, full });
      batch.commit(length, full);
      if (random.below(50) === 0) batch.send();
    }
    batch.send();
    expect(expected.length).to.equal(0);
    expect(joined).to.be.above(5000);
  });

  it("PacketBatch hands every packet to the socket that it is for", () => {
    const batch = new PacketBatch();
    const sent: string[] = [];
    const senders = ["one", "other"].map((name) => ({
      send: (memory: Uint8Array): void => void sent.push(`${name} ${memory[RECORD_HEADER_BYTES]}`),
    }));
    for (let packet = 0; packet < 4; packet++) {
      batch.memory[batch.begin(senders[packet & 1]!, routeTo("192.0.2.1", 1), 1200)] = packet;
      batch.commit(1200, true);
    }
    batch.send();
    batch.send();
    expect(sent).to.deep.equal(["one 0", "other 1", "one 2", "other 3"]);
  });

  it("ReceiveBuffer has nothing more for who wants no more, whatever came early", () => {
    const frame = (bytes: number): Uint8Array => {
      const memory = new Uint8Array(FRAME_HEADER_BYTES + 4);
      writeU32(memory, 0, bytes);
      return memory;
    };
    const [small, tooLong] = [frame(4), frame(MAX_FRAME_BYTES)];
    const bytes = small.length;
    const taken: number[] = [];
    const sink = (memory: Uint8Array, start: number, end: number): boolean => {
      taken.push(end - start);
      return readU32(memory, start) < MAX_FRAME_BYTES;
    };
    // A frame that is too long, and one behind it that came before it.
    const whole = new ReceiveBuffer(LEAST_WINDOW_BYTES);
    whole.add(2 * bytes, small, 0, bytes, sink);
    whole.add(bytes, tooLong, 0, bytes, sink);
    whole.add(0, small, 0, bytes, sink);
    expect(taken.splice(0)).to.deep.equal([bytes, FRAME_HEADER_BYTES]);
    // The same where its header ends what came in order.
    const cut = new ReceiveBuffer(LEAST_WINDOW_BYTES);
    cut.add(0, tooLong, 0, FRAME_HEADER_BYTES - 1, sink);
    cut.add(bytes, small, 0, bytes, sink);
    cut.add(FRAME_HEADER_BYTES - 1, tooLong, FRAME_HEADER_BYTES - 1, bytes, sink);
    expect(taken).to.deep.equal([FRAME_HEADER_BYTES]);
  });

  it("ReceiveBuffer keeps a limited number of ranges, and takes whatever fills a gap from its beginning", () => {
    const frames = Array.from({ length: 30 }, (_, index) => makeFrame(index, 4000));
    const stream = Uint8Array.from(frames.flatMap((frame) => [...frame]));
    for (const listening of [true, false]) {
      const taken: Uint8Array[] = [];
      const sink = (memory: Uint8Array, start: number, end: number): boolean =>
        taken.push(memory.slice(start, end)) > 0;
      const buffer = new ReceiveBuffer(LEAST_WINDOW_BYTES);
      const add = (at: number, bytes = 1): boolean =>
        buffer.add(at, stream, at, at + bytes, listening ? sink : undefined);
      // Each where nothing is yet, from the last on.
      let kept = 0;
      for (let at = stream.length - 1; at > 0; at -= 2) if (add(at)) kept++;
      expect(kept).to.equal(MAX_EARLY_RANGES);
      expect(buffer.earlyRanges).to.equal(MAX_EARLY_RANGES);
      expect(add(10, 100), "as long as it touches nothing").to.equal(false);
      expect(add(stream.length - 1), "what is there").to.equal(true);
      const lowest = stream.length + 1 - 2 * MAX_EARLY_RANGES;
      expect(add(lowest - 1), "what makes a range longer").to.equal(true);
      expect(add(stream.length - 4, 3), "what joins ranges").to.equal(true);
      // The gap before all of them, from its beginning and no other way.
      let at = 0;
      for (; at < lowest - 200; at += 100) {
        expect(add(at, 100), `the next bytes, from ${at} on`).to.equal(true);
        expect(buffer.earlyRanges).to.be.at.most(MAX_EARLY_RANGES + 1);
      }
      for (; at < stream.length; at += 150) add(at, Math.min(150, stream.length - at));
      expect(buffer.earlyRanges).to.equal(listening ? 0 : 1);
      buffer.drain(sink);
      expect(taken.length).to.equal(frames.length);
      for (const [index, frame] of frames.entries()) {
        expect(Buffer.compare(frame, taken[index]!), `frame ${index}`).to.equal(0);
      }
    }
  });

  it("SentPackets waits for no time that has come", () => {
    const random = new Random(5);
    for (let round = 0; round < 20_000; round++) {
      const rtt = new RoundTrip();
      rtt.update(1 + random.fraction(), 0);
      const sent = new SentPackets(new Congestion(), rtt, { onAcked() {}, onLost() {} });
      const sentAt = 1000 * random.fraction();
      sent.add(0, 100, 0, 50, false, sentAt);
      sent.add(1, 100, 50, 100, false, sentAt);
      sent.acknowledge([1, 2], 2, 0, sentAt + 0.1);
      expect(sent.lossAt).to.be.above(sentAt);
      const due = sent.lossAt;
      sent.detectLoss(due);
      expect(sent.lossAt, `of one that was sent at ${sentAt}`).to.equal(Infinity);
    }
  });

  it("routes are the addresses that they were made of", () => {
    for (const ip of [
      "127.0.0.1",
      "192.0.2.255",
      "::1",
      "::",
      "2001:db8::5:0:1",
      "fe80::1",
      "::ffff:192.0.2.1",
    ]) {
      const route = routeTo(ip, 65_535);
      expect(formatIp(route)).to.equal(ip);
      expect(portOf(route)).to.equal(65_535);
    }
  });
});
