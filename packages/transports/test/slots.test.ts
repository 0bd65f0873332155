/** How a queue's slots are given out. */
import { expect } from "chai";
import { Slots, type Share } from "#transports/queue/slots.js";

/** A sender of whom is known how many slots it was granted. */
interface Sender {
  readonly share: Share;
  granted: number;
  wants: number;
}

describe("the slots of a queue", () => {
  const PLAN = { connections: 20, bonus: 16, lendable: 40 };
  const TOTAL = PLAN.connections + PLAN.bonus + PLAN.lendable;

  it("are never granted twice, and every connection has one, whatever they do", () => {
    const slots = new Slots(PLAN);
    const senders: Sender[] = [];
    let seed = 1;
    const below = (limit: number): number => (seed = (seed * 48271) % 0x7fffffff) % limit;
    for (let step = 0; step < 20_000; step++) {
      const sender = senders[below(Math.max(1, senders.length))];
      const action = below(10);
      if (action === 0 || sender === undefined) {
        const share = slots.admit();
        expect(share === undefined).to.equal(senders.length === PLAN.connections);
        if (share !== undefined) senders.push({ share, granted: share.base, wants: 0 });
      } else if (action === 1) {
        sender.share.release();
        sender.share.release();
        senders.splice(senders.indexOf(sender), 1);
      } else {
        // It has used some, says what else it has, and is granted anew.
        sender.granted -= below(sender.granted + 1);
        sender.wants = below(3) === 0 ? below(100) : 0;
        const before = sender.granted;
        sender.granted = sender.share.grant(sender.granted, sender.wants);
        expect(sender.granted).to.be.at.least(Math.max(before, sender.share.base));
      }
      expect(senders.reduce((sum, { granted }) => sum + granted, 0)).to.be.at.most(TOTAL);
    }
  });

  it("are lent in equal parts to all who want some, as they come back", () => {
    const slots = new Slots(PLAN);
    const senders = Array.from({ length: 4 }, () => ({ share: slots.admit()!, granted: 0 }));
    // The first has taken all there is before others want any.
    senders[0]!.granted = senders[0]!.share.grant(senders[0]!.share.base, 1000);
    expect(senders[0]!.granted).to.equal(senders[0]!.share.base + PLAN.lendable);
    for (let round = 0; round < 2; round++) {
      for (const sender of senders) sender.granted = sender.share.grant(0, 1000);
    }
    for (const { share, granted } of senders) expect(granted).to.equal(share.base + PLAN.lendable / 4);
  });
});
