/** Node's and the web's streams as sources of messages. */
import { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { expect } from "chai";
import { Status, type CallOptions, type Interceptor } from "@sluice/core";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";
import type { Part } from "../session/simulation/service.js";

const passing: Interceptor = async function* (call, next) {
  yield* next(call);
};

/** A stream that gives one message and then waits, and whether it was ended. */
interface Idle {
  readonly source: AsyncIterable<Part>;
  isEnded(): boolean;
}

function idleReadable(): Idle {
  const source = new Readable({ objectMode: true, read() {} });
  source.push(part(1));
  return { source, isEnded: () => source.destroyed };
}

function idleWebStream(): Idle {
  let ended = false;
  const source = new ReadableStream<Part>({
    start: (controller) => controller.enqueue(part(1)),
    cancel: () => void (ended = true),
  });
  return { source: source as AsyncIterable<Part>, isEnded: () => ended };
}

const KINDS = { "a Readable": idleReadable, "a web stream": idleWebStream };
const WITH_OR_WITHOUT = [
  ["", []],
  [" behind an interceptor", [passing]],
] as const;

describe("a stream as the source of a call's messages", () => {
  for (const [kind, idle] of Object.entries(KINDS)) {
    for (const [where, interceptors] of WITH_OR_WITHOUT) {
      it(`is ended with the call while a response is awaited: ${kind}${where}`, async () => {
        const { source, isEnded } = idle();
        const { simulation, calls, usage } = await connectPair({
          server: { interceptors, implementation: { serverStream: () => source } },
        });
        const responses = calls.serverStream(part(0), { timeoutMs: 50 })[Symbol.asyncIterator]();
        await simulation.run(20);
        expect((await responses.next()).value).to.include({ index: 1 });
        const ended = rejection(responses.next());
        await simulation.run();
        expect(await ended).to.include({ code: Status.DEADLINE_EXCEEDED });
        expect(isEnded()).to.equal(true);
        expect(usage()).to.deep.equal([IDLE, IDLE]);
      });

      it(`is ended with the call while a request is awaited: ${kind}${where}`, async () => {
        const { source, isEnded } = idle();
        const { simulation, calls, usage } = await connectPair({ client: { interceptors } });
        const ended = rejection(calls.clientStream(source, { timeoutMs: 50 }));
        await simulation.run();
        expect(await ended).to.include({ code: Status.DEADLINE_EXCEEDED });
        expect(isEnded()).to.equal(true);
        expect(usage()).to.deep.equal([IDLE, IDLE]);
      });

      it(`is ended when the call was over before the handler returned it: ${kind}${where}`, async () => {
        const { source, isEnded } = idle();
        const { simulation, calls, usage } = await connectPair({
          server: {
            interceptors,
            implementation: { serverStream: () => simulation.sleep(100).then(() => source) },
          },
        });
        const responses = calls.serverStream(part(0), { timeoutMs: 50 })[Symbol.asyncIterator]();
        const ended = rejection(responses.next());
        await simulation.run();
        expect(await ended).to.include({ code: Status.DEADLINE_EXCEEDED });
        expect(isEnded()).to.equal(true);
        expect(usage()).to.deep.equal([IDLE, IDLE]);
      });
    }
  }

  for (const [kind, idle] of Object.entries(KINDS)) {
    for (const [where, interceptors] of WITH_OR_WITHOUT) {
      it(`is ended when its call is not to begin: ${kind}${where}`, async () => {
        const { simulation, calls, usage } = await connectPair({ client: { interceptors } });
        for (const options of [
          { timeoutMs: 0 },
          { signal: AbortSignal.abort() },
          { timeoutMs: NaN },
          { signal: {} as AbortSignal },
          { metadata: { "bad name": "x" } },
        ] satisfies CallOptions[]) {
          const sources = [idle(), idle()];
          const ended = [
            rejection(calls.clientStream(sources[0].source, options)),
            rejection(calls.bidi(sources[1].source, options)[Symbol.asyncIterator]().next()),
          ];
          await simulation.run();
          for (const error of ended) expect(await error).to.include({ mayHaveRun: false });
          expect(sources.map(({ isEnded }) => isEnded())).to.deep.equal([true, true]);
        }
        expect(usage()).to.deep.equal([IDLE, IDLE]);
      });
    }
  }

  it("fails the call when it fails while an interceptor waits", async () => {
    const { simulation, calls, usage } = await connectPair({
      client: {
        interceptors: [
          async function* (call, next) {
            await simulation.sleep(10);
            yield* next(call);
          },
        ],
      },
    });
    const source = new Readable({ objectMode: true, read() {} });
    const ended = rejection(calls.clientStream(source));
    source.destroy(new Error("the disk is gone"));
    await simulation.run();
    expect(await ended).to.include({ message: "the disk is gone" });
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("may fail when the call is over, and nobody hears of it", async () => {
    const sources: Readable[] = [];
    const { simulation, calls, usage } = await connectPair({
      server: {
        implementation: {
          async serverStream() {
            await simulation.sleep(100);
            const construct = (done: (error: Error) => void): void =>
              void setImmediate(done, new Error("ENOENT"));
            const source = new Readable({ objectMode: true, construct, read() {} });
            sources.push(source);
            return source;
          },
        },
      },
    });
    const responses = calls.serverStream(part(0), { timeoutMs: 50 })[Symbol.asyncIterator]();
    const ended = rejection(responses.next());
    await simulation.run();
    await ended;
    await turn();
    expect(sources.map(({ destroyed, closed }) => [destroyed, closed])).to.deep.equal([[true, true]]);
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("fails the call when it fails while it is read, has failed, was ended, or is somebody else's", async () => {
    const failing = (): Readable => {
      const source = new Readable({ objectMode: true, read() {} });
      source.push(part(1));
      setImmediate(() => source.destroy(new Error("the disk is gone")));
      return source;
    };
    const locked = new ReadableStream();
    locked.getReader();
    const { simulation, calls, usage } = await connectPair();
    for (const [source, text] of [
      [failing, "the disk is gone"],
      [() => new Readable({ read() {} }).destroy(new Error("no such file")), "no such file"],
      [() => new Readable({ read() {} }).destroy(), "Premature close"],
      [() => new ReadableStream({ pull: (to) => to.error(new Error("no network")) }), "no network"],
      [() => locked, "ReadableStream is locked"],
    ] as const) {
      const ended = rejection(calls.clientStream(source() as AsyncIterable<Part>));
      await simulation.run();
      expect((await ended).message).to.contain(text);
    }
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("is read to its end", async () => {
    const { simulation, calls, usage } = await connectPair();
    for (const source of [
      Readable.from([part(1), part(2), part(3)]),
      Readable.toWeb(Readable.from([part(1), part(2), part(3)])),
    ]) {
      const last = calls.clientStream(source as AsyncIterable<Part>);
      await simulation.run();
      expect((await last).index).to.equal(3);
    }
    expect(usage()).to.deep.equal([IDLE, IDLE]);
  });

  it("is not what merely has something to destroy", async () => {
    let destroyed = 0;
    const table = {
      *[Symbol.iterator]() {
        for (;;) yield part(1);
      },
      destroy: () => void destroyed++,
    };
    const { simulation, calls } = await connectPair({
      server: { implementation: { clientStream: () => part(7) } },
    });
    const answered = calls.clientStream(table);
    await simulation.run();
    expect((await answered).index).to.equal(7);
    expect(destroyed).to.equal(0);
  });
});
