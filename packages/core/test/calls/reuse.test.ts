/** Objects of calls that are over are used for others: what each user sees stays that of its own call. */
import { expect } from "chai";
import { RpcError, Status, type CallOptions, type ServerContext } from "@sluice/core";
import type { Session } from "#core/session.js";
import { connectPair, IDLE, part, rejection } from "../session/fixture.js";
import { Random } from "../session/simulation/random.js";
import { dataOf, sameBytes, TestDefinition, type Part } from "../session/simulation/service.js";

/** `connectPair`, and how many objects its two sessions keep for other calls. */
async function pair(options?: Parameters<typeof connectPair>[0]) {
  const connected = await connectPair(options);
  const spare = () => [
    (connected.near.handler as Session).spareCalls.length,
    (connected.far.handler as Session).spareServerCalls.length,
  ];
  return { ...connected, spare };
}

describe("a call that is over", () => {
  for (const [handled, unary] of [
    ["at once", (request: Part) => request],
    ["later", async (request: Part) => request],
  ] as const) {
    it(`leaves its object to another, at either end, when it is answered ${handled}`, async () => {
      const { simulation, calls, usage, spare } = await pair({ server: { implementation: { unary } } });
      for (let index = 0; index < 10; index++) {
        const response = calls.unary(part(index));
        await simulation.run();
        expect((await response).index).to.equal(index);
        expect(spare()).to.deep.equal([1, 1]);
      }
      const many = Array.from({ length: 1000 }, (_, index) => calls.unary(part(index)));
      await simulation.run();
      const responses = await Promise.all(many);
      expect(responses.map(({ index }) => index)).to.deep.equal(responses.map((_, index) => index));
      expect(Math.max(...spare())).to.be.at.most(256);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
    });
  }

  for (const [handled, unary] of [
    [
      "at once",
      (): Part => {
        throw new RpcError(Status.NOT_FOUND, "none");
      },
    ],
    ["later", async () => Promise.reject(new RpcError(Status.NOT_FOUND, "none"))],
  ] as const) {
    it(`leaves its object to another when its handler fails ${handled}`, async () => {
      const { simulation, calls, spare } = await pair({ server: { implementation: { unary } } });
      for (let index = 0; index < 3; index++) {
        const failed = rejection(calls.unary(part(index)));
        await simulation.run();
        expect(await failed).to.include({ code: Status.NOT_FOUND });
        expect(spare()).to.deep.equal([1, 1]);
      }
    });
  }

  it("leaves its object to a call of another method", async () => {
    const other = {
      name: "Other",
      fullName: "sim.Other",
      methods: { unary: { ...TestDefinition.methods.unary } },
    } as const;
    const { simulation, calls, client, server, spare } = await pair();
    server.add(other, { unary: ({ data }) => ({ index: 99, data }) });
    for (let round = 0; round < 3; round++) {
      const first = calls.unary(part(round));
      await simulation.run();
      expect((await first).index).to.equal(round);
      const second = client.client(other).unary(part(round));
      await simulation.run();
      expect((await second).index).to.equal(99);
      expect(spare()).to.deep.equal([1, 1]);
    }
  });

  it("leaves its object also with options and callbacks, and what its context tells of stays its own", async () => {
    const contexts: ServerContext[] = [];
    const signals: AbortSignal[] = [];
    const { simulation, calls, spare } = await pair({
      server: {
        implementation: {
          unary: async (request, context) => {
            contexts.push(context);
            if (request.index === 1) context.setHeader("a", "of the second");
            if (request.index === 2) context.setTrailer("a", "of the third");
            if (request.index === 3) signals.push(context.signal);
            if (request.index === 5) {
              const back = context.channel.client(TestDefinition);
              return { ...(await back.unary(part(50), { parent: context })), index: 5 };
            }
            return request;
          },
        },
      },
    });
    const told: string[] = [];
    const options: CallOptions[] = [
      { metadata: { who: "the first" } },
      { onHeader: (header) => void told.push(String(header.get("a"))) },
      { onTrailer: (trailer) => void told.push(String(trailer.get("a"))) },
      { signal: new AbortController().signal },
      { timeoutMs: 1000 },
      {},
      { timeoutMs: 2000, metadata: { who: "the seventh" } },
    ];
    for (const [index, option] of options.entries()) {
      const response = calls.unary(part(index), option);
      await simulation.run(10);
      expect((await response).index).to.equal(index);
      expect(spare(), `call ${index}`).to.deep.equal([1, 1]);
    }
    expect(told).to.deep.equal(["of the second", "of the third"]);
    expect(contexts.map((context) => context.metadata.get("who"))).to.deep.equal([
      "the first",
      ...Array.from({ length: 5 }, () => undefined),
      "the seventh",
    ]);
    const deadlines = contexts.map(({ deadline }) => deadline?.getTime());
    expect(deadlines.map((deadline) => deadline !== undefined)).to.deep.equal(
      options.map(({ timeoutMs }) => timeoutMs !== undefined),
    );
    expect(deadlines[6]! - deadlines[4]!).to.be.closeTo(1020, 100);
    expect(contexts[3]!.signal).to.equal(signals[0]);
    expect(signals[0]!.aborted).to.equal(false);
  });

  it("keeps its object where an iterator may still refer to it", async () => {
    const { simulation, calls, spare } = await pair();
    const collected = calls.clientStream([part(1), part(2)]);
    await simulation.run();
    await collected;
    const read = (async () => {
      for await (const one of calls.serverStream(part(1))) void one;
    })();
    await simulation.run();
    await read;
    expect(spare()).to.deep.equal([0, 0]);
  });

  it("keeps its object where a queue may still refer to it", async () => {
    const oneSlot = await pair({ server: { unchecked: { maxConcurrentStreams: 1 } } });
    const waiting = Array.from({ length: 5 }, (_, index) => oneSlot.calls.unary(part(index)));
    await oneSlot.simulation.run();
    await Promise.all(waiting);
    expect(oneSlot.spare(), "four calls waited for the one slot").to.deep.equal([1, 1]);

    const small = { unchecked: { streamWindowBytes: 4096, connectionWindowBytes: 4096 } };
    const little = await pair({ client: small, server: small });
    const starving = Array.from({ length: 5 }, (_, index) => little.calls.unary(part(index, 2000)));
    await little.simulation.run();
    await Promise.all(starving);
    expect(little.spare()[0], "three calls waited for credit").to.equal(2);
  });

  it("tells its callbacks nothing of another", async () => {
    const { simulation, calls } = await pair();
    const told: string[] = [];
    const first = calls.unary(part(0), {
      onHeader: () => void told.push("header"),
      onTrailer: () => void told.push("trailer"),
    });
    await simulation.run();
    await first;
    const second = calls.unary(part(1));
    await simulation.run();
    await second;
    expect(told).to.deep.equal(["header", "trailer"]);
  });

  it("is what its context tells of, whatever becomes of the next", async () => {
    const contexts: ServerContext[] = [];
    const { simulation, calls, client, server, usage } = await connectPair({
      server: {
        implementation: {
          unary: (request, context) => {
            contexts.push(context);
            return request.index === 0 ? request : new Promise<Part>(() => {});
          },
        },
      },
    });
    const first = calls.unary(part(0));
    await simulation.run();
    await first;
    const options = { timeoutMs: 100, metadata: { who: "another" } };
    const second = rejection(calls.unary(part(1), options));
    await simulation.run(10);
    const [over, running] = contexts as [ServerContext, ServerContext];
    expect(running.metadata.get("who")).to.equal("another");
    expect(over.metadata.size).to.equal(0);
    expect(over.method).to.equal("sim.Test/Unary");
    expect(over.deadline).to.equal(undefined);
    expect(over.peer).to.equal(running.peer);
    expect(over.channel).to.equal(running.channel).and.to.equal(server);
    const { signal } = over;
    for (const late of [
      () => over.setHeader("a", "b"),
      () => over.sendHeader(),
      () => over.setTrailer("a", "b"),
    ]) {
      expect(late).to.throw(RpcError, "have been sent already");
    }
    await simulation.run(200);
    expect(await second).to.include({ code: Status.DEADLINE_EXCEEDED });
    expect(running.signal.aborted).to.equal(true);
    expect(signal.aborted).to.equal(false);
    expect(over.signal).to.equal(signal);
    // A call that is made for it does not end with the other one.
    const back = over.channel.client(TestDefinition).unary(part(3), { parent: over });
    await simulation.run();
    expect((await back).index).to.equal(3);
    expect(client.state).to.equal("ready");
    expect(usage()[0]).to.deep.equal(IDLE);
  });

  for (let seed = 1; seed <= 20; seed++) {
    it(`is nobody else's among calls of every kind that wait, fail and are cancelled (seed ${seed})`, async () => {
      const random = new Random(seed);
      const refused = new RpcError(Status.NOT_FOUND, "not here");
      const served: { context: ServerContext; index: number; signal: AbortSignal | undefined }[] = [];
      const { simulation, calls, usage } = await connectPair({
        seed,
        // Few slots and little credit: most calls wait in one queue or another.
        client: { unchecked: { streamWindowBytes: 4096, connectionWindowBytes: 8192 } },
        server: {
          unchecked: {
            maxConcurrentStreams: 1 + random.integer(0, 19),
            streamWindowBytes: 4096,
            connectionWindowBytes: 8192,
          },
          implementation: {
            unary: (request, context) => {
              const signal = request.index % 5 === 0 ? context.signal : undefined;
              served.push({ context, index: request.index, signal });
              const answer = (): Part => {
                const who = context.metadata.get("who");
                if (who !== undefined && who !== String(request.index)) {
                  throw new Error(`the metadata of call ${String(who)} came with call ${request.index}`);
                }
                if (request.index % 7 === 0) throw refused;
                if (request.index % 11 === 0) context.setTrailer("of", String(request.index));
                if (request.index % 13 === 0) context.setHeader("of", String(request.index));
                return request;
              };
              if (request.index % 3 === 0) return answer();
              return simulation.sleep(random.integer(0, 19)).then(answer);
            },
          },
        },
      });
      let answered = 0;
      const kinds = new Map<number, number>();
      const one = async (index: number): Promise<void> => {
        const abort = new AbortController();
        const trailers: unknown[] = [];
        const headers: unknown[] = [];
        const data = dataOf(
          index,
          0,
          random.integer(0, 9) === 0 ? random.integer(0, 9999) : random.integer(0, 199),
        );
        const kind = random.integer(0, 7);
        kinds.set(index, kind);
        const options: CallOptions | undefined =
          kind === 0
            ? {
                metadata: { who: String(index) },
                timeoutMs: 60_000,
                onHeader: (header) => headers.push(header.get("of")),
                onTrailer: (trailer) => trailers.push(trailer.get("of")),
              }
            : kind === 1
              ? { timeoutMs: 1 + random.integer(0, 59) }
              : kind === 2
                ? { signal: abort.signal }
                : undefined;
        if (kind === 2) void simulation.sleep(random.integer(0, 39)).then(() => abort.abort());
        try {
          const request = { index, data };
          const response = await (options === undefined
            ? calls.unary(request)
            : calls.unary(request, options));
          expect(response.index).to.equal(index);
          expect(sameBytes(response.data, data)).to.equal(true);
          expect(index % 7).not.to.equal(0);
          if (kind === 0) {
            expect(headers).to.deep.equal([index % 13 === 0 ? String(index) : undefined]);
            expect(trailers).to.deep.equal([index % 11 === 0 ? String(index) : undefined]);
          }
          answered++;
        } catch (error) {
          if (!(error instanceof RpcError)) throw error;
          const expected: Status[] =
            kind === 1 ? [Status.DEADLINE_EXCEEDED] : kind === 2 ? [Status.CANCELLED] : [];
          if (index % 7 === 0) expected.push(Status.NOT_FOUND);
          expect(expected, `call ${index}: ${error.message}`).to.include(error.code);
        }
      };
      let next = 1;
      const worker = async (): Promise<void> => {
        while (next <= 600) {
          await one(next++);
          if (random.integer(0, 3) === 0) await simulation.sleep(random.integer(0, 9));
        }
      };
      const all = Promise.all(Array.from({ length: 30 }, worker));
      await simulation.run();
      await all;
      expect(answered).to.be.above(300);
      expect(usage()).to.deep.equal([IDLE, IDLE]);
      for (const { context, index, signal } of served) {
        const kind = kinds.get(index)!;
        expect(context.metadata.get("who"), `of call ${index}`).to.equal(
          kind === 0 ? String(index) : undefined,
        );
        expect(context.deadline !== undefined, `deadline of call ${index}`).to.equal(kind <= 1);
        if (signal === undefined) continue;
        expect(context.signal, `signal of call ${index}`).to.equal(signal);
        if (kind !== 1 && kind !== 2) expect(signal.aborted, `call ${index}`).to.equal(false);
      }
    });
  }
});
