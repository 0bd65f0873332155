import { expect } from "chai";
import { Random } from "@sluice/transport-contract";
import { Deadlines } from "#transports/udp/deadlines.js";
import { RangeSet } from "#transports/udp/range-set.js";
import { ReceivedPackets } from "#transports/udp/received-packets.js";
import { formatIp, portOf, routeTo } from "#transports/udp/route.js";

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
