import { Readable } from "node:stream";
import { expect } from "chai";
import {
  Status,
  connectWith,
  type CallOptions,
  type Channel,
  type Connection,
  type Limits,
  type ObservableLike,
  type Transport,
} from "@sluice/core";
import { channelOn, part, rejection } from "../session/fixture.js";
import { TestDefinition, type Part } from "../session/simulation/service.js";
import { Simulation } from "../session/simulation/simulation.js";

const TIMEOUT_MS = 1000;
const WAITED_MS = 600;

/** A channel that is still connecting; `arrive` brings the connection, whose peer answers no call. */
function connectingChannel(limits: Partial<Limits> = {}) {
  const simulation = new Simulation(1);
  const [near, far] = simulation.link();
  let arrived = (_: Connection): void => {};
  let channel!: Channel;
  const transport: Transport = {
    scheme: "sim",
    connect: () => new Promise((resolve) => (arrived = resolve)),
    listen: () => Promise.reject(new Error("nobody listens here")),
  };
  const services = (made: Channel): void => void (channel = made);
  void connectWith([transport], "sim:link", { waitForReady: true, services, limits }, simulation.clock);
  const arrive = (): void => {
    channelOn(simulation, far, false, {
      implementation: {
        unary: () => new Promise(() => {}),
        async *serverStream() {
          await new Promise(() => {});
        },
      },
    });
    arrived(near);
  };
  return { simulation, channel, arrive };
}

describe("a call that waits for a connection", () => {
  for (const kind of ["unary", "serverStream"] as const) {
    it(`has had of its time what it waited: ${kind}`, async () => {
      const { simulation, channel, arrive } = connectingChannel();
      const { clock } = simulation;
      const began = clock.now();
      const options = { timeoutMs: TIMEOUT_MS };
      const calls = channel.client(TestDefinition);
      let endedAt = 0;
      const call =
        kind === "unary"
          ? calls.unary(part(0), options)
          : calls.serverStream(part(0), options)[Symbol.asyncIterator]().next();
      const ended = rejection(call).then((error) => {
        endedAt = clock.now();
        return error;
      });
      clock.advance(WAITED_MS);
      arrive();
      await simulation.runUntil(() => endedAt > 0);
      expect(await ended).to.include({ code: Status.DEADLINE_EXCEEDED, mayHaveRun: true });
      // As late as deadlines may be, on a clock that is exact.
      expect(endedAt - began).to.be.within(TIMEOUT_MS, TIMEOUT_MS + 4);
    });
  }

  it("is forgotten when its caller wants no responses any more", async () => {
    const { simulation, channel, arrive } = connectingChannel({ maxQueuedCalls: 2 });
    const calls = channel.client(TestDefinition);
    for (let left = 0; left < 10; left++) {
      const responses = calls.serverStream(part(0))[Symbol.asyncIterator]();
      const next = responses.next();
      await responses.return!();
      expect(await next).to.deep.equal({ value: undefined, done: true });
    }
    const call = rejection(calls.unary(part(0), { timeoutMs: TIMEOUT_MS }));
    arrive();
    await simulation.run(2 * TIMEOUT_MS);
    expect(await call).to.include({ code: Status.DEADLINE_EXCEEDED, mayHaveRun: true });
  });

  it("is refused at once for options that cannot be, and takes nobody's place", async () => {
    // One waits already: `connect`.
    const { simulation, channel, arrive } = connectingChannel({ maxQueuedCalls: 2 });
    const calls = channel.client(TestDefinition);
    for (const options of [{ timeoutMs: NaN }, { signal: {} as AbortSignal }] satisfies CallOptions[]) {
      const error = await rejection(calls.unary(part(0), options));
      expect(error).to.include({ code: Status.INVALID_ARGUMENT, mayHaveRun: false });
    }
    const waiting = rejection(calls.unary(part(0), { timeoutMs: TIMEOUT_MS }));
    arrive();
    await simulation.run();
    expect(await waiting).to.include({ code: Status.DEADLINE_EXCEEDED });
  });

  for (const [why, limits, options, code] of [
    ["its time is over", {}, { timeoutMs: TIMEOUT_MS }, Status.DEADLINE_EXCEEDED],
    ["too many wait", { maxQueuedCalls: 1 }, {}, Status.RESOURCE_EXHAUSTED],
    ["its options are wrong", {}, { timeoutMs: -1 }, Status.INVALID_ARGUMENT],
  ] as const) {
    it(`ends its source when it is not to begin, because ${why}`, async () => {
      const { simulation, channel } = connectingChannel(limits);
      const calls = channel.client(TestDefinition);
      const sources = [new Readable({ read() {} }), new Readable({ read() {} })];
      const ended = [
        rejection(calls.clientStream(sources[0], options)),
        rejection(calls.bidi(sources[1], options)[Symbol.asyncIterator]().next()),
      ];
      await simulation.run(TIMEOUT_MS + 4);
      for (const error of ended) expect(await error).to.include({ code, mayHaveRun: false });
      expect(sources.map(({ destroyed }) => destroyed)).to.deep.equal([true, true]);
    });
  }

  it("ends its source when its caller leaves, and once", async () => {
    const { simulation, channel, arrive } = connectingChannel();
    let ends = 0;
    const source: AsyncIterable<Part> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => {}),
        return: () => {
          ends++;
          return Promise.resolve({ value: undefined, done: true });
        },
      }),
    };
    const responses = channel.client(TestDefinition).bidi(source)[Symbol.asyncIterator]();
    await responses.return!();
    expect(ends).to.equal(1);
    arrive();
    await simulation.run();
    expect(ends).to.equal(1);
  });

  it("sends what its Observable has emitted meanwhile", async () => {
    const { simulation, channel, arrive } = connectingChannel();
    const calls = channel.client(TestDefinition);
    const observers: Parameters<ObservableLike<Part>["subscribe"]>[0][] = [];
    const requests = {
      subscribe: (observer: (typeof observers)[0]) => (observers.push(observer), { unsubscribe() {} }),
    } as unknown as AsyncIterable<Part>;
    const last = calls.clientStream(requests);
    const responses = calls.bidi(requests)[Symbol.asyncIterator]();
    for (const observer of observers) observer.next(part(1));
    await simulation.run(10);
    arrive();
    for (const observer of observers) {
      observer.next(part(2));
      observer.complete();
    }
    await simulation.run();
    expect((await last).index).to.equal(2);
    for (const index of [1, 2]) expect((await responses.next()).value).to.include({ index });
    expect(observers).to.have.length(2);
  });

  it("fails when its source does meanwhile", async () => {
    const { simulation, channel, arrive } = connectingChannel();
    const calls = channel.client(TestDefinition);
    const sources = [new Readable({ read() {} }), new Readable({ read() {} })];
    const ended = [
      rejection(calls.clientStream(sources[0])),
      rejection(calls.bidi(sources[1])[Symbol.asyncIterator]().next()),
    ];
    for (const source of sources) source.destroy(new Error("the disk is gone"));
    await simulation.run(10);
    arrive();
    await simulation.run();
    for (const error of ended) expect(await error).to.include({ message: "the disk is gone" });
  });

  it("is ended when connecting takes longer than it may, and says so", async () => {
    const simulation = new Simulation(1);
    let given: AbortSignal | undefined;
    const transport: Transport = {
      scheme: "sim",
      connect: (_, { signal }) => {
        given = signal;
        return new Promise(() => {});
      },
      listen: () => Promise.reject(new Error("nobody listens here")),
    };
    const limits = { handshakeTimeoutMs: 300 };
    const failed = rejection(connectWith([transport], "sim:link", { limits }, simulation.clock));
    simulation.clock.advance(300);
    expect(await failed).to.include({
      code: Status.UNAVAILABLE,
      message: "there was no connection with sim:link within 300 ms",
    });
    expect(given?.aborted).to.equal(true);
  });
});
