/** Interceptors and AsyncLocalStorage: what tracing does. */
import { AsyncLocalStorage } from "node:async_hooks";
import { expect } from "chai";
import type { Interceptor } from "@sluice/core";
import { installPlatform, portablePlatform } from "@sluice/core/protobuf";
import { nodePlatform } from "../protobuf/platform.js";
import { connectPair, part } from "../session/fixture.js";
import type { Part } from "../session/simulation/service.js";

const storage = new AsyncLocalStorage<string>();

/** Runs everything further in with `name` added to what it is in. */
function within(name: string): Interceptor {
  return (call, next) => storage.run(`${storage.getStore() ?? ""}/${name}`, () => next(call));
}

/** Records what its own steps are in. */
function recording(seen: Set<string | undefined>): Interceptor {
  return async function* (call, next) {
    try {
      seen.add(storage.getStore());
      for await (const response of next(call)) {
        seen.add(storage.getStore());
        yield response;
        seen.add(storage.getStore());
      }
    } finally {
      seen.add(storage.getStore());
    }
  };
}

/** Parts that fill several windows, and what each step of giving them is in. */
async function* parts(seen: Set<string | undefined>): AsyncGenerator<Part> {
  try {
    for (let i = 0; i < 8; i++) {
      seen.add(storage.getStore());
      yield part(i, 3000);
    }
  } finally {
    seen.add(storage.getStore());
  }
}

const NARROW = { unchecked: { streamWindowBytes: 4096 } };

describe("the async context of an interceptor's next", () => {
  before(() => installPlatform(nodePlatform));
  after(() => installPlatform(portablePlatform));

  it("is that of the handler and of interceptors further in, for every kind of call", async () => {
    const handlers = new Set<string | undefined>();
    const inner = new Set<string | undefined>();
    const take = async (requests: AsyncIterable<Part>): Promise<Part> => {
      handlers.add(storage.getStore());
      for await (const _ of requests) handlers.add(storage.getStore());
      return part(0);
    };
    const { simulation, calls } = await connectPair({
      client: NARROW,
      server: {
        ...NARROW,
        interceptors: [within("a"), recording(new Set()), within("b"), recording(inner)],
        implementation: {
          async unary(request) {
            handlers.add(storage.getStore());
            await simulation.sleep(1);
            handlers.add(storage.getStore());
            return request;
          },
          serverStream: () => parts(handlers),
          clientStream: take,
          async *bidi(requests) {
            yield await take(requests);
            yield* parts(handlers);
          },
        },
      },
    });
    const read = async (responses: AsyncIterable<Part>): Promise<void> => {
      for await (const _ of responses) await simulation.sleep(1);
    };
    const over = storage.run("of the caller", () =>
      Promise.all([
        calls.unary(part(0)),
        read(calls.serverStream(part(0))),
        calls.clientStream(parts(new Set())),
        read(calls.bidi(parts(new Set()))),
      ]),
    );
    await simulation.run();
    await over;
    for (const seen of [handlers, inner]) {
      expect(seen).to.have.lengthOf(1);
      expect([...seen][0]).to.match(/\/a\/b$/);
    }
  });

  it("is that of a handler's stream also as it cleans up because its call was cancelled", async () => {
    const seen = new Set<string | undefined>();
    const { simulation, calls } = await connectPair({
      client: NARROW,
      server: { ...NARROW, interceptors: [within("a")], implementation: { serverStream: () => parts(seen) } },
    });
    const responses = calls.serverStream(part(0))[Symbol.asyncIterator]();
    const first = responses.next();
    await simulation.run();
    expect((await first).done).to.equal(false);
    const cleanedUp = storage.run("of the caller", () => responses.return!());
    await simulation.run();
    await cleanedUp;
    expect([...seen]).to.deep.equal(["/a"]);
  });

  it("is that of a client's source of requests and of interceptors further in", async () => {
    const requests = new Set<string | undefined>();
    const inner = new Set<string | undefined>();
    const { simulation, calls } = await connectPair({
      client: { ...NARROW, interceptors: [within("a"), recording(inner)] },
      server: {
        ...NARROW,
        implementation: {
          async clientStream(parts) {
            for await (const _ of parts) await simulation.sleep(1);
            return part(0);
          },
        },
      },
    });
    const over = storage.run("caller", () => calls.clientStream(parts(requests)));
    await simulation.run();
    await over;
    for (const seen of [requests, inner]) expect([...seen]).to.deep.equal(["caller/a"]);
  });
});
