import { setImmediate } from "node:timers/promises";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect } from "chai";
import { CollectionWatch } from "@sluice/core/collection-watch";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as (options?: { type: "minor" }) => void;

/** Full collections, until `told` or too many: what they tell comes in a turn of its own, and what this turn made outlives them. */
async function collectUntil(told: () => boolean): Promise<void> {
  for (let tries = 0; tries < 20 && !told(); tries++) {
    await setImmediate();
    collect();
    await setImmediate();
  }
}

function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")!.space_used_size;
}

describe("CollectionWatch", () => {
  it("tells of a full collection, once for each time that it was asked to", async () => {
    let told = 0;
    const watch = new CollectionWatch(() => told++);
    for (const times of [1, 2]) {
      expect([watch.listen(), watch.listen()]).to.deep.equal([true, false]);
      await collectUntil(() => told === times);
      expect(told).to.equal(times);
      collect();
      await setImmediate();
      expect(told).to.equal(times);
    }
  });

  it("tells nothing of collections of young objects, before V8 14", async function () {
    if (Number.parseInt(process.versions.v8) >= 14) this.skip();
    let told = 0;
    const watch = new CollectionWatch(() => told++);
    watch.listen();
    for (let i = 0; i < 10; i++) {
      await setImmediate();
      Array.from({ length: 1000 }, () => new Uint8Array(50));
      const before = youngBytes();
      collect({ type: "minor" });
      expect(youngBytes()).to.be.below(before);
      await setImmediate();
    }
    expect(told).to.equal(0);
    await collectUntil(() => told > 0);
    expect([told, watch.listen()]).to.deep.equal([1, true]);
  });
});
