import { getEventListeners, once } from "node:events";
import { type Channel, connect, createServer, RpcError, type Server, Status } from "@sluice/node";
import { rxClient, type RxClient } from "@sluice/rx";
import { expect } from "chai";
import {
  concat,
  finalize,
  firstValueFrom,
  from,
  interval,
  lastValueFrom,
  map,
  mergeMap,
  NEVER,
  Observable,
  of,
  range,
  Subject,
  take,
  throwError,
  toArray,
} from "rxjs";
import { NumbersDefinition } from "./definition.js";

describe("rxClient", () => {
  let server: Server;
  let channel: Channel;
  let numbers: RxClient<typeof NumbersDefinition>;
  /** Resolves when a handler's signal is aborted. */
  let cancelled: Promise<unknown>;
  let calls: number;

  beforeEach(async () => {
    calls = 0;
    let signals: (signal: AbortSignal) => void;
    cancelled = new Promise<AbortSignal>((resolve) => (signals = resolve)).then((signal) =>
      signal.aborted ? undefined : once(signal, "abort"),
    );
    server = createServer();
    server.add(NumbersDefinition, {
      double({ n }) {
        calls++;
        if (n < 0) throw new RpcError(Status.OUT_OF_RANGE, "too small");
        return { n: 2 * n };
      },
      async *upTo({ n }, context) {
        calls++;
        signals(context.signal);
        for (let i = 1; i <= n; i++) yield { n: i };
      },
      async sum(requests, context) {
        signals(context.signal);
        let n = 0;
        for await (const request of requests) n += request.n;
        return { n };
      },
      running(requests) {
        return new Observable((subscriber) => {
          let n = 0;
          void (async () => {
            for await (const request of requests) subscriber.next({ n: (n += request.n) });
            subscriber.complete();
          })().catch((error: unknown) => subscriber.error(error));
        });
      },
    });
    await server.listen("memory:rx");
    channel = await connect("memory:rx");
    numbers = rxClient(channel, NumbersDefinition);
  });

  afterEach(async () => {
    await channel.close();
    await server.close();
  });

  it("gives one message of a unary call, and completes", async () => {
    expect(await lastValueFrom(numbers.double({ n: 4 }).pipe(toArray()))).to.deep.equal([{ n: 8 }]);
  });

  it("makes one call for each subscription, and none before", async () => {
    const doubled = numbers.double({ n: 4 });
    expect(calls).to.equal(0);
    await firstValueFrom(doubled);
    await firstValueFrom(doubled);
    expect(calls).to.equal(2);
  });

  it("errors with the call's RpcError", async () => {
    const error = await firstValueFrom(numbers.double({ n: -1 })).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(RpcError);
    expect(error).to.include({ code: Status.OUT_OF_RANGE, message: "too small" });
  });

  it("gives the messages of a streamed response in order", async () => {
    const all = numbers.upTo({ n: 1000 }).pipe(
      map(({ n }) => n),
      toArray(),
    );
    expect(await lastValueFrom(all)).to.deep.equal(Array.from({ length: 1000 }, (_, i) => i + 1));
  });

  it("takes requests from an Observable, an array or an async iterable", async () => {
    async function* two() {
      yield { n: 1 };
      yield { n: 2 };
    }
    expect(await lastValueFrom(numbers.sum(of({ n: 1 }, { n: 2 })))).to.deep.equal({ n: 3 });
    expect(await lastValueFrom(numbers.sum([{ n: 1 }, { n: 2 }]))).to.deep.equal({ n: 3 });
    expect(await lastValueFrom(numbers.sum(two()))).to.deep.equal({ n: 3 });
  });

  it("streams both ways", async () => {
    const requests = interval(1).pipe(
      map(() => ({ n: 1 })),
      take(5),
    );
    const sums = numbers.running(requests).pipe(
      map(({ n }) => n),
      toArray(),
    );
    expect(await lastValueFrom(sums)).to.deep.equal([1, 2, 3, 4, 5]);
  });

  it("cancels the call when its subscriber leaves", async () => {
    expect(await firstValueFrom(numbers.upTo({ n: 1e9 }))).to.deep.equal({ n: 1 });
    await cancelled;
  });

  it("cancels the call when the subscription ends while nothing comes, and unsubscribes from the requests", async () => {
    let unsubscribed!: () => void;
    const left = new Promise<void>((resolve) => (unsubscribed = resolve));
    const requests = new Observable<{ n: number }>((subscriber) => {
      subscriber.next({ n: 1 });
      return unsubscribed;
    });
    const subscription = numbers.sum(requests).subscribe();
    setTimeout(() => subscription.unsubscribe(), 10);
    await cancelled;
    await left;
  });

  it("cancels by the caller's signal, and reports it", async () => {
    const controller = new AbortController();
    const waiting = firstValueFrom(numbers.sum(NEVER, { signal: controller.signal }));
    controller.abort();
    const error = await waiting.catch((reason: unknown) => reason);
    expect(error).to.include({ code: Status.CANCELLED });
  });

  it("has one listener at a signal that many calls have, and none when they are over", async () => {
    const { signal } = new AbortController();
    const listeners = () => getEventListeners(signal, "abort").length;
    const subscriptions = Array.from({ length: 30 }, () => numbers.sum(NEVER, { signal }).subscribe());
    expect(listeners()).to.equal(1);
    for (const subscription of subscriptions) subscription.unsubscribe();
    expect(listeners()).to.equal(0);
    expect(await firstValueFrom(numbers.double({ n: 1 }, { signal }))).to.deep.equal({ n: 2 });
    expect(listeners()).to.equal(0);
  });

  it("does not start a call whose signal is aborted already", async () => {
    const error = await firstValueFrom(numbers.double({ n: 1 }, { signal: AbortSignal.abort() })).catch(
      (reason: unknown) => reason,
    );
    expect(error).to.include({ code: Status.CANCELLED });
    expect(calls).to.equal(0);
  });

  it("passes the other options on", async () => {
    const error = await firstValueFrom(numbers.sum(NEVER, { timeoutMs: 5 })).catch(
      (reason: unknown) => reason,
    );
    expect(error).to.include({ code: Status.DEADLINE_EXCEEDED });
  });

  it("ends the call when the requests fail", async () => {
    const failed = numbers.sum(throwError(() => new Error("no more")));
    const error = await lastValueFrom(failed).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(Error);
    await cancelled;
  });

  it("fails when the requests never pause, whatever they are piped through, and ends them", async () => {
    function* all() {
      for (let n = 1; ; n++) yield { n };
    }
    for (const requests of [
      from(all()),
      from(all()).pipe(
        map(({ n }) => ({ n })),
        mergeMap((request) => of(request)),
      ),
      new Observable<{ n: number }>((subscriber) => {
        while (!subscriber.closed) subscriber.next({ n: 1 });
      }),
    ]) {
      let ends = 0;
      const error = await lastValueFrom(numbers.sum(requests.pipe(finalize(() => ends++)))).catch(
        (reason: unknown) => reason,
      );
      expect(error).to.include({ code: Status.RESOURCE_EXHAUSTED });
      expect(ends).to.equal(1);
    }
  });

  it("loses no requests of a Subject while an interceptor waits", async () => {
    const patient = await connect("memory:rx", {
      interceptors: [
        async function* (call, next) {
          await new Promise((resolve) => setTimeout(resolve, 5));
          yield* next(call);
        },
      ],
    });
    const requests = new Subject<{ n: number }>();
    const sum = lastValueFrom(rxClient(patient, NumbersDefinition).sum(requests));
    requests.next({ n: 1 });
    requests.next({ n: 2 });
    requests.complete();
    expect(await sum).to.deep.equal({ n: 3 });
    await patient.close();
  });

  it("does not keep what ends the Observables that requests have been merged of", async () => {
    const ended: WeakRef<object>[] = [];
    const one = new Observable<{ n: number }>((subscriber) => {
      ended.push(new WeakRef(subscriber));
      subscriber.next({ n: 1 });
      subscriber.complete();
    });
    const requests = concat(range(0, 1000), NEVER).pipe(mergeMap(() => one));
    const subscription = numbers.sum(requests).subscribe();
    await new Promise((resolve) => setTimeout(resolve, 20));
    globalThis.gc!();
    expect(ended.filter((one) => one.deref() !== undefined).length).to.be.below(100);
    subscription.unsubscribe();
  });

  it("fails when the requests run too far ahead", async () => {
    const flood = range(0, 100_000).pipe(map((n) => ({ n })));
    const error = await lastValueFrom(numbers.sum(flood)).catch((reason: unknown) => reason);
    expect(error).to.include({ code: Status.RESOURCE_EXHAUSTED });
  });
});

/** Compiled, never run: what the types must refuse. */
export function types(numbers: RxClient<typeof NumbersDefinition>): void {
  const doubled: Observable<{ readonly n: number }> = numbers.double({ n: 1 });
  const summed: Observable<{ readonly n: number }> = numbers.sum(of({ n: 1 }), { timeoutMs: 1 });
  void [doubled, summed];
  // @ts-expect-error: that field is a number
  numbers.double({ n: "1" });
  // @ts-expect-error: a stream of requests is not one request
  numbers.double(of({ n: 1 }));
  // @ts-expect-error: one request is not a stream
  numbers.sum({ n: 1 });
  // @ts-expect-error: no such method
  void numbers.triple;
}
