import { expect } from "chai";
import { Status } from "@sluice/core";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";
import type { Part } from "../session/simulation/service.js";

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
