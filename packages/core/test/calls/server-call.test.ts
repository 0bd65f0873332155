import { expect } from "chai";
import { RpcError, Status, type Interceptor, type ServerContext } from "@sluice/core";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";
import type { Part } from "../session/simulation/service.js";

const passing: Interceptor = async function* (call, next) {
  yield* next(call);
};

describe("a handler's promise", () => {
  /** Answers what `promises` says to the calls by their index. */
  const pairOf = (promises: readonly (() => PromiseLike<Part>)[]) =>
    connectPair({
      server: { implementation: { unary: ({ index }) => promises[index]!() as Promise<Part> } },
    });

  it("may be of another kind, and answer or fail", async () => {
    /** Begins its work when it is waited for. */
    class Lazy extends Promise<Part> {
      override then<A, B>(
        onResponse: (response: Part) => A | PromiseLike<A>,
        onError: (error: unknown) => B | PromiseLike<B>,
      ): Promise<A | B> {
        return Promise.resolve(part(7)).then(onResponse, onError);
      }
    }
    const { simulation, calls, usage } = await pairOf([
      () => new Lazy(() => {}),
      () => ({ then: (_, onError) => Promise.reject(new Error("not today")).catch(onError) as never }),
    ]);
    const answered = calls.unary(part(0));
    const failed = rejection(calls.unary(part(1)));
    await simulation.run();
    expect((await answered).index).to.equal(7);
    expect(await failed).to.include({ code: Status.UNKNOWN, message: "not today" });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("that calls back again answers no other call", async () => {
    let again = (): void => {};
    const { simulation, calls, usage } = await pairOf([
      () => ({
        then(onResponse) {
          onResponse?.(part(10));
          again = () => void onResponse?.(part(66));
          return undefined as never;
        },
      }),
      () => new Promise((resolve) => void simulation.sleep(10).then(() => resolve(part(11)))),
    ]);
    const first = calls.unary(part(0));
    await simulation.run();
    expect((await first).index).to.equal(10);
    const second = calls.unary(part(1));
    await simulation.run(5);
    again();
    await simulation.run();
    expect((await second).index).to.equal(11);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("is waited for after its call was cancelled, and then told to nobody", async () => {
    const { simulation, calls, usage } = await pairOf([
      () => new Promise((resolve) => void simulation.sleep(100).then(() => resolve(part(10)))),
      () => Promise.resolve(part(11)),
    ]);
    const cancelled = rejection(calls.unary(part(0), { timeoutMs: 20 }));
    await simulation.run(50);
    expect(await cancelled).to.include({ code: Status.DEADLINE_EXCEEDED });
    expect(usage()[1].handlers).to.equal(1);
    const other = calls.unary(part(1));
    await simulation.run();
    expect((await other).index).to.equal(11);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });
});

describe("a handler", () => {
  it("may say its headers when its call is over, and nobody hears of it", async () => {
    const contexts: ServerContext[] = [];
    const hold = (_: unknown, context: ServerContext) => (
      contexts.push(context),
      new Promise<Part>(() => {})
    );
    const { simulation, calls, usage } = await connectPair({
      server: {
        implementation: {
          unary: hold,
          clientStream: hold,
          async *serverStream(_, context) {
            yield await hold(_, context);
          },
        },
      },
    });
    const controller = new AbortController();
    const ended = [
      rejection(calls.unary(part(0), { signal: controller.signal })),
      rejection(calls.clientStream([part(0)], { timeoutMs: 20 })),
      rejection(calls.serverStream(part(0), { signal: controller.signal })[Symbol.asyncIterator]().next()),
    ];
    await simulation.run(10);
    controller.abort();
    await simulation.run(50);
    await Promise.all(ended);
    expect(contexts).to.have.length(3);
    // A bystander may have the stream of one of them by now.
    const bystander = calls.bidi([part(1)])[Symbol.asyncIterator]();
    for (const context of contexts) context.sendHeader();
    await simulation.run(50);
    expect((await bystander.next()).value).to.include({ index: 1 });
    expect(usage()[0]).to.deep.equal(IDLE);
  });

  for (const code of [0, 17, 404, -1, 1.5, 65_536, undefined, null, "ENOENT"]) {
    it(`that fails with the status ${code} fails with UNKNOWN, and no other call does`, async () => {
      const error = new RpcError(code as Status, "as it was");
      const fail = (): never => {
        throw error;
      };
      const { simulation, calls, usage } = await connectPair({
        server: { implementation: { unary: fail, serverStream: fail } },
      });
      const failed = [
        rejection(calls.unary(part(0))),
        rejection(calls.serverStream(part(0))[Symbol.asyncIterator]().next()),
      ];
      const bystander = calls.clientStream([part(7)]);
      await simulation.run();
      for (const one of failed) expect(await one).to.include({ code: Status.UNKNOWN, message: "as it was" });
      expect((await bystander).index).to.equal(7);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  it("may promise its stream, and fail before there is one", async () => {
    const { simulation, calls, usage } = await connectPair({
      server: {
        implementation: {
          serverStream: async ({ index }) => {
            if (index === 0) throw new RpcError(Status.PERMISSION_DENIED, "not for you");
            return [part(1), part(2)];
          },
        },
      },
    });
    const failed = rejection(calls.serverStream(part(0))[Symbol.asyncIterator]().next());
    const stream = calls.serverStream(part(1))[Symbol.asyncIterator]();
    await simulation.run();
    expect(await failed).to.include({ code: Status.PERMISSION_DENIED, message: "not for you" });
    expect((await stream.next()).value).to.include({ index: 1 });
    expect((await stream.next()).value).to.include({ index: 2 });
    expect((await stream.next()).done).to.equal(true);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("may return a source that can be awaited for its end, and one that fails as it is begun", async () => {
    const process = Object.assign(Promise.resolve("its end"), {
      async *[Symbol.asyncIterator]() {
        yield part(1);
      },
    });
    const broken = {
      [Symbol.asyncIterator](): never {
        throw new RpcError(Status.NOT_FOUND, "no such thing");
      },
    };
    for (const interceptors of [[], [passing]]) {
      const { simulation, calls, usage } = await connectPair({
        server: {
          interceptors,
          implementation: {
            serverStream: ({ index }) =>
              [process, broken, Promise.resolve(broken)][index]! as AsyncIterable<Part>,
          },
        },
      });
      const first = calls.serverStream(part(0))[Symbol.asyncIterator]().next();
      const failed = [1, 2].map((index) =>
        rejection(calls.serverStream(part(index))[Symbol.asyncIterator]().next()),
      );
      await simulation.run();
      expect((await first).value).to.include({ index: 1 });
      for (const error of failed) {
        expect(await error).to.include({ code: Status.NOT_FOUND, message: "no such thing" });
      }
      expect(usage()[1].handlers).to.equal(0);
    }
  });

  it("whose mistakes are told as such: by the method, not as the caller's, with and without interceptors", async () => {
    for (const interceptors of [[], [passing]]) {
      const { simulation, calls, usage } = await connectPair({
        server: {
          interceptors,
          implementation: {
            unary: () => ({ index: 1 }) as Part,
            serverStream: ({ index }) => (index === 0 ? (5 as never) : [null as never]),
          },
        },
      });
      const failed = [
        rejection(calls.unary(part(0))),
        rejection(calls.serverStream(part(0))[Symbol.asyncIterator]().next()),
        rejection(calls.serverStream(part(1))[Symbol.asyncIterator]().next()),
      ];
      await simulation.run();
      const texts = await Promise.all(failed);
      for (const error of texts) expect(error).to.include({ code: Status.INTERNAL });
      expect(texts[0]!.message).to.match(/^cannot encode (the|a) response of sim.Test\/Unary: /);
      expect(texts[1]!.message).to.match(
        /^the handler of sim.Test\/ServerStream, or an interceptor, returned no stream: /,
      );
      expect(texts[2]!.message).to.match(/^cannot encode a response of sim.Test\/ServerStream: /);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    }
  });

  it("that answers before it has read all requests reads no more of them", async () => {
    let read: Promise<unknown> | undefined;
    const { simulation, calls, usage } = await connectPair({
      server: {
        implementation: {
          async clientStream(parts) {
            const iterator = parts[Symbol.asyncIterator]();
            await iterator.next();
            read = rejection(iterator.next());
            return part(9);
          },
        },
      },
    });
    const answered = calls.clientStream(
      (async function* () {
        yield part(0);
        await new Promise(() => {});
      })(),
    );
    await simulation.run();
    expect((await answered).index).to.equal(9);
    expect(await read).to.include({ code: Status.CANCELLED, message: "the call is over" });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("is given no more requests once it has left them", async () => {
    const after: unknown[] = [];
    const { simulation, calls } = await connectPair({
      server: {
        implementation: {
          async clientStream(parts) {
            const iterator = parts[Symbol.asyncIterator]();
            await iterator.next();
            await iterator.return!();
            await simulation.sleep(100);
            after.push(await iterator.next());
            return part(9);
          },
        },
      },
    });
    const answered = calls.clientStream([part(0), part(1), part(2)]);
    await simulation.run();
    expect((await answered).index).to.equal(9);
    expect(after).to.deep.equal([{ value: undefined, done: true }]);
  });
});
