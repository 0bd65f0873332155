/** What interceptors must not stand in the way of; what they see and may do is in the conformance suite. */
import { expect } from "chai";
import {
  RpcError,
  Status,
  type CallOptions,
  type Interceptor,
  type Metadata,
  type ServerContext,
} from "@sluice/core";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";
import type { Part } from "../session/simulation/service.js";

const passing: Interceptor = async function* (call, next) {
  yield* next(call);
};

/** A source that gives one message and then none, and counts how often it was told to stop. */
class Silent implements AsyncIterable<Part> {
  stopped = 0;
  #given = false;

  [Symbol.asyncIterator](): AsyncIterator<Part> {
    return {
      next: () => {
        if (this.#given) return new Promise(() => {});
        this.#given = true;
        return Promise.resolve({ value: part(1), done: false });
      },
      return: () => {
        this.stopped++;
        return Promise.resolve({ value: undefined, done: true });
      },
    };
  }
}

/** The same as an Observable. */
class SilentObservable {
  stopped = 0;

  subscribe(observer: { next(value: Part): void }): { unsubscribe(): void } {
    observer.next(part(1));
    return { unsubscribe: () => void this.stopped++ };
  }
}

async function collect<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const message of messages) all.push(message);
  return all;
}

describe("interceptors of a client", () => {
  /** One that waits for nothing that will come, and the calls' signals that it saw. */
  function waiting() {
    const signals: AbortSignal[] = [];
    const interceptor: Interceptor = async function* (call, next) {
      signals.push(call.signal);
      await new Promise(() => {});
      yield* next(call);
    };
    return { interceptor, signals };
  }

  for (const [what, code, options] of [
    ["its deadline passes", Status.DEADLINE_EXCEEDED, () => ({ timeoutMs: 100 })],
    [
      "it is cancelled",
      Status.CANCELLED,
      (sleep: Promise<void>) => {
        const controller = new AbortController();
        void sleep.then(() => controller.abort(new Error("enough")));
        return { signal: controller.signal };
      },
    ],
  ] as const) {
    it(`do not hold a call up when ${what} while one of them waits, and are told by its signal`, async () => {
      const { interceptor, signals } = waiting();
      const { simulation, calls, usage } = await connectPair({ client: { interceptors: [interceptor] } });
      const began = simulation.clock.now();
      let endedAt = 0;
      const given: CallOptions = options(simulation.sleep(100));
      const ended = [
        rejection(calls.unary(part(0), given)),
        rejection(
          calls
            .bidi([part(0)], given)
            [Symbol.asyncIterator]()
            .next(),
        ),
      ].map((error) => error.finally(() => (endedAt = simulation.clock.now())));
      await simulation.run();
      for (const error of await Promise.all(ended)) expect(error).to.include({ code, mayHaveRun: false });
      expect(endedAt - began).to.be.within(100, 110);
      expect(signals.map(({ aborted }) => aborted)).to.deep.equal([true, true]);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  it("may answer themselves when the call's deadline has passed", async () => {
    const fallBack: Interceptor = async function* (call, next) {
      try {
        yield* next(call);
      } catch (error) {
        expect(error).to.include({ code: Status.DEADLINE_EXCEEDED });
        yield part(7);
      }
    };
    const { simulation, calls } = await connectPair({
      client: { interceptors: [fallBack] },
      server: { implementation: { unary: () => new Promise(() => {}) } },
    });
    const answered = calls.unary(part(0), { timeoutMs: 50 });
    await simulation.run(1000);
    expect((await answered).index).to.equal(7);
  });

  it("leave a call its status when it is cancelled on its way", async () => {
    const { simulation, calls, usage } = await connectPair({
      client: { interceptors: [passing] },
      server: {
        implementation: {
          unary: (_, { signal }) =>
            new Promise((resolve) => signal.addEventListener("abort", () => resolve(part(0)))),
        },
      },
    });
    const late = rejection(calls.unary(part(0), { timeoutMs: 50 }));
    const controller = new AbortController();
    const cancelled = rejection(calls.unary(part(0), { signal: controller.signal }));
    await simulation.run(20);
    controller.abort(new Error("enough"));
    await simulation.run();
    expect(await late).to.include({ code: Status.DEADLINE_EXCEEDED, mayHaveRun: true });
    const error = await cancelled;
    expect(error).to.include({ code: Status.CANCELLED, mayHaveRun: true });
    expect(error).to.include({ message: "the call was cancelled: enough", cause: controller.signal.reason });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("that fail a call after it was answered do not have it look as if it had not run", async () => {
    const refusing: Interceptor = async function* (call, next) {
      for await (const _ of next(call)) throw new RpcError(Status.DATA_LOSS, "not this one");
    };
    const { simulation, calls } = await connectPair({ client: { interceptors: [refusing] } });
    const failed = rejection(calls.unary(part(0)));
    await simulation.run();
    expect(await failed).to.include({ code: Status.DATA_LOSS, message: "not this one", mayHaveRun: true });
  });

  it("that fail a call which goes on within do not have it look as if it had not run", async () => {
    const failing: Interceptor = async function* (call, next) {
      void next(call)[Symbol.asyncIterator]().next();
      await new Promise((resolve) => setImmediate(resolve));
      throw new RpcError(Status.ABORTED, "enough");
    };
    const { simulation, calls, usage } = await connectPair({
      client: { interceptors: [failing] },
      server: { implementation: { unary: () => new Promise(() => {}) } },
    });
    const failed = rejection(calls.unary(part(0)));
    await simulation.run();
    expect(await failed).to.include({ code: Status.ABORTED, mayHaveRun: true });
    expect(usage()[0]).to.deep.equal(IDLE);
  });

  it("do not hide that a call may have run behind an error of their own", async () => {
    const wrapping: Interceptor = async function* (call, next) {
      try {
        yield* next(call);
      } catch (error) {
        throw new RpcError((error as RpcError).code, "wrapped");
      }
    };
    const { simulation, calls } = await connectPair({
      client: { interceptors: [wrapping] },
      server: { implementation: { unary: () => new Promise(() => {}) } },
    });
    const failed = rejection(calls.unary(part(0), { timeoutMs: 50 }));
    await simulation.run(1000);
    expect(await failed).to.include({ code: Status.DEADLINE_EXCEEDED, message: "wrapped", mayHaveRun: true });
  });

  it("see why a call has ended as its caller does, however long they have waited", async () => {
    const seen: unknown[] = [];
    let wait: (ms: number) => Promise<void> = () => Promise.resolve();
    const late: Interceptor = async function* (call, next) {
      await wait(1);
      try {
        yield* next(call);
      } catch (error) {
        seen.push((error as RpcError).code, (error as RpcError).message, (error as RpcError).cause);
        throw error;
      }
    };
    const { simulation, calls } = await connectPair({
      client: { interceptors: [late] },
      server: { implementation: { unary: () => new Promise(() => {}) } },
    });
    wait = (ms) => simulation.sleep(ms);
    for (const timeoutMs of [20, 20.3, 20.7, 21.9]) {
      const failed = rejection(calls.unary(part(0), { timeoutMs }));
      await simulation.run(100);
      await failed;
      expect(seen.splice(0)).to.deep.equal([
        Status.DEADLINE_EXCEEDED,
        "the call's deadline has passed",
        undefined,
      ]);
    }
    const controller = new AbortController();
    const failed = rejection(calls.unary(part(0), { signal: controller.signal }));
    await simulation.run(20);
    const reason = new Error("enough");
    controller.abort(reason);
    await simulation.run(20);
    await failed;
    expect(seen).to.deep.equal([Status.CANCELLED, "the call was cancelled: enough", reason]);
  });

  it("that cancel the call themselves as they begin do so", async () => {
    const controller = new AbortController();
    const cancelling: Interceptor = (call, next) => {
      controller.abort(new Error("no need"));
      return next(call);
    };
    const { simulation, calls, usage } = await connectPair({ client: { interceptors: [cancelling] } });
    const failed = rejection(calls.unary(part(0), { signal: controller.signal }));
    await simulation.run();
    expect(await failed).to.include({ code: Status.CANCELLED, message: "the call was cancelled: no need" });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("leave nothing behind of a stream that is over and not read to its end", async () => {
    const { simulation, calls } = await connectPair({
      client: { interceptors: [passing] },
      server: { implementation: { serverStream: () => [part(1), part(2)] } },
    });
    const controller = new AbortController();
    const options = { timeoutMs: 60_000, signal: controller.signal };
    const begin = async (): Promise<AsyncIterator<Part>> => {
      const responses = calls.serverStream(part(0), options)[Symbol.asyncIterator]();
      const first = responses.next();
      await simulation.run(1000);
      expect((await first).value).to.include({ index: 1 });
      return responses;
    };
    const responses = await begin();
    const left: WeakRef<object>[] = [];
    for (let count = 0; count < 10; count++) left.push(new WeakRef(await begin()));
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc!();
    // The last may be where a compiler has left it.
    expect(left.filter((one) => one.deref() !== undefined).length).to.be.at.most(1);
    // What has arrived can still be read, also when its time is over.
    await simulation.run(100_000);
    const second = responses.next();
    await simulation.run(10);
    expect((await second).value).to.include({ index: 2 });
    const end = responses.next();
    await simulation.run(10);
    expect((await end).done).to.equal(true);
  });

  it("that fail while a call goes on within end that, too, and report nothing after the end", async () => {
    const failing: Interceptor = async function* (call, next) {
      const responses = next(call)[Symbol.asyncIterator]();
      yield (await responses.next()).value;
      throw new RpcError(Status.ABORTED, "enough");
    };
    const { simulation, calls, usage } = await connectPair({
      client: { interceptors: [failing] },
      server: { implementation: { serverStream: () => new Silent() } },
    });
    const responses = calls.serverStream(part(0))[Symbol.asyncIterator]();
    const first = responses.next();
    await simulation.run();
    await first;
    const failed = rejection(responses.next());
    await simulation.run();
    expect(await failed).to.include({ code: Status.ABORTED, mayHaveRun: true });
    expect(usage()).to.deep.equal([IDLE, IDLE]);

    const { interceptor } = waiting();
    const other = await connectPair({ client: { interceptors: [interceptor] } });
    const told: string[] = [];
    const late = rejection(
      other.calls.unary(part(0), {
        timeoutMs: 20,
        onHeader: () => told.push("header"),
        onTrailer: () => told.push("trailer"),
      }),
    );
    await other.simulation.run();
    expect(await late).to.include({ code: Status.DEADLINE_EXCEEDED });
    expect(told).to.deep.equal([]);
  });

  it("let headers that come by themselves through to who waits for them before he sends anything", async () => {
    const { simulation, calls, usage } = await connectPair({
      client: { interceptors: [passing] },
      server: {
        implementation: {
          async *bidi(requests: AsyncIterable<Part>, context: ServerContext) {
            context.setHeader("ready", "yes");
            context.sendHeader();
            yield* requests;
          },
        },
      },
    });
    const told: unknown[] = [];
    let ready = () => {};
    const isReady = new Promise<void>((resolve) => (ready = resolve));
    async function* requests() {
      await isReady;
      yield part(1);
    }
    const onHeader = (header: Metadata) => {
      told.push(header.get("ready"));
      ready();
    };
    const responses = collect(calls.bidi(requests(), { timeoutMs: 1000, onHeader }));
    await simulation.run();
    expect((await responses).map(({ index }) => index)).to.deep.equal([1]);
    expect(told).to.deep.equal(["yes"]);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("make a call fail by what its callbacks throw, as a call without any", async () => {
    for (const callback of ["onHeader", "onTrailer"] as const) {
      for (const early of [false, true]) {
        const { simulation, calls, usage } = await connectPair({
          client: { interceptors: [passing] },
          server: {
            implementation: {
              async *serverStream(_: Part, context: ServerContext) {
                if (early) context.sendHeader();
                await simulation.sleep(10);
                yield part(1);
              },
            },
          },
        });
        const throwing = {
          [callback]: () => {
            throw new TypeError("oops");
          },
        };
        const failed = rejection(collect(calls.serverStream(part(0), throwing)));
        await simulation.run();
        expect(await failed).to.include({ code: Status.CANCELLED, message: "oops", mayHaveRun: true });
        expect(usage()).to.deep.equal([IDLE, IDLE]);
      }
    }
  });

  it("do not put off a stream until its responses are read", async () => {
    const seen: string[] = [];
    const { simulation, calls, usage } = await connectPair({
      client: { interceptors: [passing] },
      server: {
        implementation: {
          async *bidi(requests: AsyncIterable<Part>) {
            for await (const { index } of requests) {
              seen.push(`got ${index}`);
              yield part(index);
            }
          },
        },
      },
    });
    const responses = calls.bidi([part(1), part(2)]);
    await simulation.run();
    expect(seen).to.deep.equal(["got 1", "got 2"]);
    const read = collect(responses);
    await simulation.run();
    expect((await read).map(({ index }) => index)).to.deep.equal([1, 2]);
    // Nor does what fails before that go unhandled.
    const failing = calls.serverStream(part(0), { timeoutMs: -1 });
    await simulation.run();
    expect(await rejection(collect(failing))).to.include({ code: Status.INVALID_ARGUMENT });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("let the caller leave while a response is awaited", async () => {
    const { simulation, calls, usage } = await connectPair({
      client: { interceptors: [passing] },
      server: { implementation: { bidi: () => new Silent() } },
    });
    const responses = calls.bidi([part(0)])[Symbol.asyncIterator]();
    const first = responses.next();
    await simulation.run();
    expect((await first).value).to.include({ index: 1 });
    const pending = responses.next();
    await simulation.run(10);
    const done = { value: undefined, done: true };
    expect(await responses.return!()).to.deep.equal(done);
    expect(await pending).to.deep.equal(done);
    expect(await responses.next()).to.deep.equal(done);
    await simulation.run();
    expect(usage()).to.deep.equal([IDLE, IDLE]);
    expect(() => calls.bidi([])[Symbol.asyncIterator]()).to.not.throw();
  });

  for (const source of [new Silent(), new SilentObservable()]) {
    it(`have ${source instanceof Silent ? "an iterator" : "an Observable"} of requests stopped when the call is over`, async () => {
      const { simulation, calls, usage } = await connectPair({ client: { interceptors: [passing] } });
      const ended = rejection(calls.clientStream(source as AsyncIterable<Part>, { timeoutMs: 50 }));
      await simulation.run();
      expect(await ended).to.include({ code: Status.DEADLINE_EXCEEDED });
      expect(source.stopped).to.equal(1);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  it("have what is wrong with a call's options told by its promise", async () => {
    const { simulation, calls } = await connectPair({ client: { interceptors: [passing] } });
    for (const options of [
      { timeoutMs: -1 },
      { metadata: { "bad name": "x" } },
      { signal: 5 },
      { deadline: NaN },
    ]) {
      const failed = [
        rejection(calls.unary(part(0), options as CallOptions)),
        rejection(
          calls
            .serverStream(part(0), options as CallOptions)
            [Symbol.asyncIterator]()
            .next(),
        ),
      ];
      await simulation.run();
      for (const error of failed) expect(await error).to.include({ code: Status.INVALID_ARGUMENT });
    }
    const fine = calls.unary(part(3), { timeoutMs: Number.MAX_SAFE_INTEGER });
    await simulation.run(10);
    expect((await fine).index).to.equal(3);
  });
});

describe("interceptors of a server", () => {
  for (const source of [new Silent(), new SilentObservable()]) {
    it(`have ${source instanceof Silent ? "an iterator" : "an Observable"} of responses stopped when the call is cancelled`, async () => {
      const ends: unknown[] = [];
      const looking: Interceptor = async function* (call, next) {
        try {
          yield* next(call);
        } catch (error) {
          ends.push(RpcError.from(error).code);
          throw error;
        }
      };
      const { simulation, calls, usage } = await connectPair({
        server: { interceptors: [looking], implementation: { serverStream: () => source } },
      });
      const controller = new AbortController();
      const responses = calls.serverStream(part(0), { signal: controller.signal })[Symbol.asyncIterator]();
      await simulation.run();
      expect((await responses.next()).value).to.include({ index: 1 });
      controller.abort();
      await simulation.run();
      await rejection(responses.next());
      expect(source.stopped).to.equal(1);
      expect(ends).to.deep.equal([Status.CANCELLED]);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  it("wait for a generator that cleans up before its handler counts as settled", async () => {
    const { simulation, calls, usage } = await connectPair({
      server: {
        interceptors: [passing],
        implementation: {
          async *serverStream(_, { signal }) {
            yield part(1);
            await new Promise((resolve) => signal.addEventListener("abort", resolve));
            await simulation.sleep(100);
          },
        },
      },
    });
    const controller = new AbortController();
    const responses = calls.serverStream(part(0), { signal: controller.signal })[Symbol.asyncIterator]();
    await simulation.run();
    controller.abort();
    await simulation.run(50);
    expect(usage()[1].handlers).to.equal(1);
    await simulation.run();
    expect(usage()).to.deep.equal([IDLE, IDLE]);
    await rejection(
      (async () => {
        for (;;) if ((await responses.next()).done === true) return;
      })(),
    );
  });

  it("that give nothing fail the call as the server's mistake", async () => {
    const { simulation, calls } = await connectPair({
      server: { interceptors: [(() => undefined) as unknown as Interceptor] },
    });
    const failed = rejection(calls.unary(part(0)));
    await simulation.run();
    expect(await failed).to.include({ code: Status.INTERNAL });
  });
});
