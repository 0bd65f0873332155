import { expect } from "chai";
import { systemClock, type Clock, type Timer } from "@sluice/core";
import { TimerWheel, type Deadline, type Expiring } from "#core/timer-wheel.js";
import { SimulatedClock } from "../session/simulation/clock.js";
import { Random } from "../session/simulation/random.js";

const DAY_MS = 86_400_000;

describe("systemClock", () => {
  it("is the clock of a test that puts its own in the place of the platform's, as long as it is there", () => {
    const { performance, setTimeout } = globalThis;
    const fake = { now: () => -1 };
    try {
      Object.assign(globalThis, { performance: fake, setTimeout: () => 0 });
      expect(systemClock.now()).to.equal(-1);
    } finally {
      Object.assign(globalThis, { performance, setTimeout });
    }
    expect(systemClock.now()).to.be.at.least(0);
  });
});

class Entry implements Expiring {
  deadline: Deadline | undefined = undefined;
  firedAt: number | undefined = undefined;

  constructor(
    readonly clock: Clock,
    readonly action?: () => void,
  ) {}

  addTo(wheel: TimerWheel, expireAt: number): void {
    this.deadline = wheel.add(this, expireAt);
  }

  get expireAt(): number {
    return this.deadline!.expireAt;
  }

  onDeadline(): void {
    if (this.firedAt !== undefined) throw new Error("it fired twice");
    this.firedAt = this.clock.now();
    this.action?.();
  }
}

function expectPunctual(entry: Entry): void {
  expect(entry.firedAt).not.to.equal(undefined);
  expect(entry.firedAt! - entry.expireAt).to.be.within(0, 4);
}

describe("a timer wheel", () => {
  it("fires never early and at most 4 ms late, from now to years ahead", () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock);
    const delays = [0, 0.1, 1, 2, 3.99, 4, 500, 511.9, 512, 513, 131_071, 131_072.5, 3_600_000, 33_554_432];
    const entries = [
      ...delays,
      DAY_MS,
      49.8 * DAY_MS,
      99 * DAY_MS,
      100 * DAY_MS,
      365 * DAY_MS,
      1000 * DAY_MS,
    ].map((delay) => {
      const entry = new Entry(clock);
      entry.addTo(wheel, clock.now() + delay);
      return entry;
    });
    while (clock.pending > 0) clock.advanceTo(clock.nextDue!);
    entries.forEach(expectPunctual);
  });

  it("arms one timer of the clock, however many entries there are", () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock);
    for (let i = 0; i < 1000; i++) wheel.add(new Entry(clock), clock.now() + 100 + i);
    expect(clock.pending).to.equal(1);
    expect(clock.set).to.equal(1);
  });

  it("fires the others, then and later, when what one does throws", async () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock);
    const broken = new Entry(clock, () => {
      throw new Error("by a deadline");
    });
    const others = [new Entry(clock), new Entry(clock), new Entry(clock)];
    const thrown: string[] = [];
    process.setUncaughtExceptionCaptureCallback(({ message }) => thrown.push(message));
    try {
      others[0]!.addTo(wheel, clock.now() + 100);
      broken.addTo(wheel, clock.now() + 100);
      others[1]!.addTo(wheel, clock.now() + 100);
      clock.advance(104);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.setUncaughtExceptionCaptureCallback(null);
    }
    expect(thrown).to.deep.equal(["by a deadline"]);
    others[2]!.addTo(wheel, clock.now() + 100);
    clock.advance(104);
    others.forEach(expectPunctual);
  });

  it("takes what is in the past at once, but not from inside", () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock);
    const entry = new Entry(clock);
    entry.addTo(wheel, clock.now() - 1000);
    expect(entry.firedAt).to.equal(undefined);
    clock.advance(4);
    expect(entry.firedAt).not.to.equal(undefined);
  });

  it("does not fire what another's deadline removes, and fires what it adds", () => {
    const clock = new SimulatedClock();
    const wheel = new TimerWheel(clock);
    const expireAt = clock.now() + 50;
    const removed = [new Entry(clock), new Entry(clock)];
    const added = new Entry(clock);
    const again = new Entry(clock, () => wheel.add(new Entry(clock), clock.now()));
    const remover = new Entry(clock, () => {
      for (const entry of removed) wheel.remove(entry.deadline!);
      added.addTo(wheel, clock.now());
    });
    for (const entry of removed) entry.addTo(wheel, expireAt);
    remover.addTo(wheel, expireAt);
    again.addTo(wheel, expireAt);
    // Entries of one slot run in the reverse order of their coming.
    clock.advance(100);
    expectPunctual(remover);
    expectPunctual(added);
    for (const entry of removed) expect(entry.firedAt).to.equal(undefined);
  });

  it("keeps every promise through random additions and removals", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = new Random(seed);
      const clock = new SimulatedClock();
      const wheel = new TimerWheel(clock);
      const live = new Set<Entry>();
      const dead = new Set<Entry>();
      const add = (): void => {
        const entry = new Entry(clock, () => {
          if (!live.delete(entry)) throw new Error("it fired after its removal");
          expectPunctual(entry);
          dead.add(entry);
          if (random.chance(0.2)) add();
          if (random.chance(0.2)) remove();
        });
        live.add(entry);
        entry.addTo(wheel, clock.now() + random.magnitude(0, random.pick([10, 1000, 100_000, 40_000_000])));
      };
      const remove = (): void => {
        if (live.size === 0) return;
        const entry = random.pick([...live]);
        live.delete(entry);
        wheel.remove(entry.deadline!);
        wheel.remove(entry.deadline!);
      };
      for (let i = 0; i < 500; i++) {
        const action = random.integer(0, 9);
        if (action < 5) add();
        else if (action < 6) remove();
        // Not too far at once: nobody is punctual on an event loop that is not free.
        else if (action < 8 || clock.nextDue === undefined) clock.advance(random.fraction() * 10);
        else clock.advanceTo(clock.nextDue);
      }
      while (clock.pending > 0) clock.advanceTo(clock.nextDue!);
      expect(live.size, `seed ${seed}`).to.equal(0);
    }
  });

  it("survives an event loop that stands still for long, and timers that fire early", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = new Random(seed);
      const clock = new SimulatedClock();
      const hasty: Clock = {
        now: () => clock.now(),
        // Node's timers count whole milliseconds of a time that is cached: they may be early by one.
        setTimer: (callback, delayMs) =>
          clock.setTimer(callback, delayMs > 1 ? delayMs - random.fraction() : delayMs),
      };
      const wheel = new TimerWheel(hasty);
      const entries = Array.from({ length: 200 }, () => {
        const entry = new Entry(clock);
        entry.addTo(wheel, clock.now() + random.magnitude(0, 2_000_000));
        if (random.chance(0.1)) clock.jump(random.magnitude(1, 1_000_000));
        return entry;
      });
      while (clock.pending > 0) {
        if (random.chance(0.1)) clock.jump(random.magnitude(1, 100_000));
        clock.advanceTo(clock.nextDue!);
      }
      for (const { firedAt, expireAt } of entries) expect(firedAt).to.be.at.least(expireAt);
    }
  });

  it("keeps the process alive only while something is to expire", () => {
    let referenced = 0;
    const clock = new SimulatedClock();
    const counting: Clock = {
      now: () => clock.now(),
      setTimer(callback, delayMs): Timer {
        let counts = true;
        referenced++;
        const release = (): void => {
          if (counts) referenced--;
          counts = false;
        };
        const timer = clock.setTimer(() => {
          release();
          callback();
        }, delayMs);
        return {
          cancel() {
            release();
            timer.cancel();
          },
          ref() {
            if (!counts) referenced++;
            counts = true;
          },
          unref: release,
        };
      },
    };
    const wheel = new TimerWheel(counting);
    const entry = new Entry(clock);
    entry.addTo(wheel, clock.now() + DAY_MS);
    expect(referenced).to.equal(1);
    wheel.remove(entry.deadline!);
    expect(referenced).to.equal(0);
    entry.addTo(wheel, clock.now() + 2 * DAY_MS);
    expect(referenced).to.equal(1);
    clock.advance(3 * DAY_MS);
    expectPunctual(entry);
    expect(referenced).to.equal(0);
    const last = new Entry(clock);
    last.addTo(wheel, clock.now() + 10);
    expect(referenced).to.equal(1);
    clock.advance(20);
    expect(referenced).to.equal(0);
  });

  it("is punctual enough on the real clock never to be early", (done) => {
    const wheel = new TimerWheel(systemClock);
    const entry = new Entry(systemClock, () => {
      try {
        expect(entry.firedAt).to.be.at.least(entry.expireAt);
        done();
      } catch (error) {
        done(error);
      }
    });
    entry.addTo(wheel, systemClock.now() + 5.5);
  });
});
