/**
 * Who may fill a queue. A queue's room is counted in *slots*: for POSIX a message, for System V a number of bytes. The one
 * who receives from it grants them to those who send.
 *
 * Every connection has a *base* of its own, which is granted to it again as soon as its messages have been received: whatever
 * others do, it gets on. The rest is *lent*, to those who have said that they have more to send, and only for as long: what is
 * lent to a sender with something to send comes back, so nobody need ever be asked to give slots back.
 */
export class Slots {
  /** How many connections there may be, of which each has at least one slot. */
  readonly connections: number;
  readonly #lendable: number;
  #connected = 0;
  /** What is left to make the first connections' bases more than one slot. */
  #bonus: number;
  #lent = 0;
  /** How many have said that they have more to send. */
  #hungry = 0;

  constructor(plan: { readonly connections: number; readonly bonus: number; readonly lendable: number }) {
    this.connections = plan.connections;
    this.#bonus = plan.bonus;
    this.#lendable = plan.lendable;
  }

  /** A new connection's share; undefined when there is no slot for it. */
  admit(): Share | undefined {
    if (this.#connected >= this.connections) return undefined;
    this.#connected++;
    const bonus = Math.ceil(this.#bonus / 4);
    this.#bonus -= bonus;
    return new Share(this, 1 + bonus);
  }

  /** @private by `Share`: now `after` instead of `before` are lent to it. */
  lend(before: number, after: number): void {
    this.#lent += after - before;
  }

  /** @private by `Share`: how many may be lent to it, which has `lent`, so that all who are hungry can have as many. */
  lendable(lent: number): number {
    const fair = Math.floor(this.#lendable / Math.max(1, this.#hungry));
    return Math.max(lent, Math.min(fair, lent + this.#lendable - this.#lent));
  }

  /** @private by `Share` */
  countHungry(change: number): void {
    this.#hungry += change;
  }

  /** @private by `Share` */
  release(share: Share): void {
    this.#connected--;
    this.#bonus += share.base - 1;
  }
}

/** One connection's part in the slots of a queue. */
export class Share {
  /** How many slots are always this connection's. */
  readonly base: number;
  readonly #slots: Slots;
  #lent = 0;
  #hungry = false;
  #released = false;

  /** All `slots` of a queue that one connection has to itself. */
  static whole(slots: number): Share {
    return new Share(new Slots({ connections: 1, bonus: 0, lendable: 0 }), slots);
  }

  constructor(slots: Slots, base: number) {
    this.#slots = slots;
    this.base = base;
  }

  /**
   * How many slots the sender may have, that has `granted` of them at present and wants this many for what it has to
   * send yet: at least what it has.
   */
  grant(granted: number, wants: number): number {
    if (this.#released) return granted;
    if (wants > 0 !== this.#hungry) {
      this.#hungry = wants > 0;
      this.#slots.countHungry(this.#hungry ? 1 : -1);
    }
    const held = Math.max(0, granted - this.base);
    this.#setLent(held);
    if (wants > this.base)
      this.#setLent(Math.max(held, Math.min(wants - this.base, this.#slots.lendable(held))));
    return Math.max(granted, this.base + this.#lent);
  }

  #setLent(lent: number): void {
    this.#slots.lend(this.#lent, lent);
    this.#lent = lent;
  }

  /** Give everything back, since the connection is over. Idempotent. */
  release(): void {
    if (this.#released) return;
    this.grant(0, 0);
    this.#released = true;
    this.#slots.release(this);
  }
}
