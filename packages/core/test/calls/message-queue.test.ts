import { expect } from "chai";
import { MessageQueue } from "#core/message-queue.js";

describe("a queue of messages whose consumer is always behind", () => {
  it("gives them in order, and keeps none that was taken", async () => {
    let consumed = 0;
    const queue = new MessageQueue<object>({
      onConsumed: (cost) => void (consumed += cost),
      onAbandoned() {},
    });
    const taken: WeakRef<object>[] = [];
    const add = (index: number): void => queue.push({ index }, 1, undefined);
    for (let index = 0; index < 100; index++) add(index);
    for (let index = 0; index < 10_000; index++) {
      add(100 + index);
      const { value } = await queue.next();
      expect(value).to.deep.equal({ index });
      taken.push(new WeakRef(value!));
    }
    expect(consumed).to.equal(10_000);
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc!();
    expect(taken.filter((message) => message.deref() !== undefined).length).to.be.below(1000);
  });
});
