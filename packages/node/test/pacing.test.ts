import { expect } from "chai";
import { CollectionPacing } from "#node/pacing.js";

const MIB = 1024 * 1024;

/** Messages of `bytes` in all with a full collection at the end. Whether the last was to be hastened. */
function collectAfter(pacing: CollectionPacing, bytes: number): boolean {
  let hastens = false;
  for (let left = bytes; left > 0; left -= MIB) hastens = pacing.allocated(Math.min(left, MIB));
  pacing.collected();
  return hastens;
}

/** The same again and again: how often it was to be hastened. */
function hastened(pacing: CollectionPacing, times: number, bytesOf: (hastens: boolean) => number): number {
  let count = 0;
  for (let i = 0; i < times; i++) {
    if (collectAfter(pacing, bytesOf(pacing.allocated(0)))) count++;
  }
  return count;
}

describe("pacing of collections", () => {
  it("leaves a process alone whose full collections are seldom", () => {
    expect(hastened(new CollectionPacing(), 40, () => 300 * MIB)).to.equal(0);
  });

  it("leaves a process alone whose full collections have other causes", () => {
    expect(hastened(new CollectionPacing(), 1000, () => 64 * 1024)).to.equal(0);
  });

  it("hastens where full collections come often and that makes them less frequent", () => {
    const often = hastened(new CollectionPacing(), 100, (hastens) => (hastens ? 100 : 20) * MIB);
    // In every second period; in bytes that is five of six.
    expect(often).to.be.within(44, 56);
  });

  it("mostly hastens where that changes nothing yet", () => {
    const often = hastened(new CollectionPacing(), 1000, () => 20 * MIB);
    expect(often).to.be.within(800, 950);
  });

  it("hardly hastens where that makes full collections far more frequent", () => {
    const often = hastened(new CollectionPacing(), 1000, (hastens) => (hastens ? 8 : 20) * MIB);
    expect(often).to.be.within(4, 350);
  });

  it("stops where other collections than those of messages hide whether it helps", () => {
    const pacing = new CollectionPacing();
    hastened(pacing, 8, () => 20 * MIB);
    for (let i = 0; i < 4; i++) collectAfter(pacing, 200 * MIB);
    while (!pacing.allocated(MIB)) collectAfter(pacing, 20 * MIB);
    for (let bytes = 0; bytes < 8192 * MIB; bytes += MIB / 2) {
      pacing.allocated(MIB / 2);
      pacing.collected();
    }
    expect(pacing.allocated(MIB)).to.equal(false);
  });

  it("sees from time to time whether it is still needed", () => {
    const pacing = new CollectionPacing();
    expect(hastened(pacing, 8, () => 20 * MIB)).to.equal(4);
    // What was bad has become good: it hastens for as long as a period has, and then no more.
    for (let i = 0; i < 4; i++) collectAfter(pacing, 20 * MIB);
    while (!pacing.allocated(MIB)) collectAfter(pacing, 20 * MIB);
    let bytes = 0;
    while (pacing.allocated(MIB)) bytes += MIB;
    expect(bytes).to.be.within(1024 * MIB, 4096 * MIB);
    expect(hastened(pacing, 40, () => 1000 * MIB)).to.equal(0);
  });
});
