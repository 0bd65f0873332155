/** Observables that are not rxjs's as sources of messages; rxjs's are in the tests of `@sluice/rx`. */
import { expect } from "chai";
import { Status, type ObservableLike } from "@sluice/core";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";
import type { Part } from "../session/simulation/service.js";

type Observer = Parameters<ObservableLike<Part>["subscribe"]>[0];

/** Serves `subscribe` as an Observable. */
const pairOf = (subscribe: (observer: never) => unknown) =>
  connectPair({
    server: { implementation: { serverStream: () => ({ subscribe }) as ObservableLike<Part> } },
  });

async function all(responses: AsyncIterable<Part>): Promise<number[]> {
  const indexes: number[] = [];
  for await (const { index } of responses) indexes.push(index);
  return indexes;
}

describe("an Observable as the source of a call's messages", () => {
  /** As in the ECMAScript proposal: the observer is told of the subscription before anything is emitted. */
  const startingFirst = (observer: Observer & { start(subscription: object): void }): object => {
    let closed = false;
    const subscription = { unsubscribe: () => void (closed = true) };
    observer.start(subscription);
    while (!closed) observer.next(part(1));
    return subscription;
  };
  const lookingAtClosed = (observer: Observer & { closed: boolean }): object => {
    while (!observer.closed) observer.next(part(1));
    return { unsubscribe() {} };
  };

  for (const [what, subscribe] of Object.entries({ startingFirst, lookingAtClosed })) {
    it(`fails the call when it emits without end as it is subscribed to: ${what}`, async () => {
      const { simulation, calls, usage } = await pairOf(subscribe);
      const failed = rejection(all(calls.serverStream(part(0))));
      await simulation.run();
      expect(await failed).to.include({ code: Status.RESOURCE_EXHAUSTED });
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  for (const when of ["too much is emitted", "the call is cancelled"]) {
    it(`may throw when it is unsubscribed since ${when}, once`, async () => {
      let ends = 0;
      let emit = (): void => {};
      const { simulation, calls, usage } = await pairOf((observer: Observer) => {
        emit = () => {
          for (let count = 0; count < 100_000; count++) observer.next(part(1));
        };
        return {
          unsubscribe() {
            ends++;
            throw new Error("not like this");
          },
        };
      });
      const failed = rejection(all(calls.serverStream(part(0), { timeoutMs: 50 })));
      await simulation.run(10);
      const overflows = when === "too much is emitted";
      if (overflows) emit();
      await simulation.run();
      const code = overflows ? Status.RESOURCE_EXHAUSTED : Status.DEADLINE_EXCEEDED;
      expect(await failed).to.include({ code });
      expect(ends).to.equal(1);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  for (const [where, wait] of [
    ["behind an interceptor that waits", true],
    ["whose responses are not read yet", false],
  ] as const) {
    it(`is heard from the beginning of a call ${where}`, async () => {
      let observer!: Observer;
      let ends = 0;
      const requests = {
        subscribe(subscriber: Observer) {
          observer = subscriber;
          return { unsubscribe: () => void ends++ };
        },
      };
      const { simulation, calls, usage } = await connectPair({
        client: {
          interceptors: [
            async function* (call, next) {
              if (wait) await simulation.sleep(100);
              yield* next(call);
            },
          ],
        },
      });
      const responses = calls.bidi(requests as unknown as AsyncIterable<Part>);
      const early = wait ? all(responses) : undefined;
      observer.next(part(1));
      await simulation.run(50);
      observer.next(part(2));
      observer.complete();
      const read = early ?? all(responses);
      await simulation.run();
      expect(await read).to.deep.equal([1, 2]);
      expect(ends).to.equal(1);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  it("may give no subscription, and fail for no reason", async () => {
    let fails = false;
    const { simulation, calls, usage } = await pairOf((observer: Observer) => {
      for (const index of [1, 2, 3]) observer.next(part(index));
      if (fails) observer.error(undefined);
      else observer.complete();
    });
    const read = all(calls.serverStream(part(0)));
    await simulation.run();
    expect(await read).to.deep.equal([1, 2, 3]);
    fails = true;
    const failed = rejection(all(calls.serverStream(part(0))));
    await simulation.run();
    expect(await failed).to.include({ code: Status.UNKNOWN });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });
});
