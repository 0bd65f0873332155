/** Interceptors on both sides, for all four kinds of call, with one shape. */
import { expect } from "chai";
import { randomUUID } from "node:crypto";
import {
  connect,
  createServer,
  Metadata,
  RpcError,
  Status,
  type Channel,
  type Interceptor,
  type Server,
} from "@sluice/node";
import { SimpleRequest, StreamingOutputCallRequest } from "../gen/grpc/testing/messages.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { payload } from "../payload.js";
import { addServices, callEachKind } from "../services.js";
import { failure, SOON } from "../suite.js";
import { until, within } from "../within.js";

/** What an interceptor saw of one call. */
interface Seen {
  side: string;
  method: string;
  requests: number;
  responses: number;
  end: string;
}

/** Counts what passes, and says under `name` that it was there. */
function counting(name: string, log: Seen[]): Interceptor {
  return async function* (call, next) {
    const seen: Seen = {
      side: call.side,
      method: call.method.path.split("/")[1]!,
      requests: 0,
      responses: 0,
      end: "left",
    };
    if (call.side === "client") call.metadata.append("passed", name);
    else call.header.append("passed", name);
    async function* requests() {
      for await (const request of call.requests) {
        seen.requests++;
        yield request;
      }
    }
    try {
      for await (const response of next({ ...call, requests: requests() })) {
        seen.responses++;
        yield response;
      }
      seen.end = "ended";
    } catch (error) {
      seen.end = RpcError.from(error).codeName;
      throw error;
    } finally {
      log.push(seen);
    }
  };
}

describe("interceptors", () => {
  let server: Server;
  let address: string;
  let channel: Channel;
  let log: Seen[];

  async function open(client: Interceptor[], serverSide: Interceptor[]): Promise<void> {
    server = createServer({ interceptors: serverSide });
    addServices(server);
    ({ address } = await server.listen(`memory:${randomUUID()}`));
    channel = await connect(address, { interceptors: client });
  }
  beforeEach(() => {
    log = [];
  });
  afterEach(async () => {
    await channel.close();
    await server.close();
  });

  it("see every message of all four kinds, on both sides", async () => {
    await open([counting("client", log)], [counting("server", log)]);
    await within(SOON, callEachKind(channel), "calls of every kind");
    for (const side of ["client", "server"]) {
      expect(log.filter((seen) => seen.side === side).map(({ side: _, ...seen }) => seen)).to.deep.equal([
        { method: "UnaryCall", requests: 1, responses: 1, end: "ended" },
        { method: "StreamingInputCall", requests: 4, responses: 1, end: "ended" },
        { method: "StreamingOutputCall", requests: 1, responses: 2, end: "ended" },
        { method: "FullDuplexCall", requests: 2, responses: 4, end: "ended" },
      ]);
    }
  });

  it("run in the order given, and may add metadata", async () => {
    const seen: (string | Uint8Array)[] = [];
    const look: Interceptor = (call, next) => {
      seen.push(...call.metadata.getAll("passed"));
      return next(call);
    };
    await open([counting("a", log), counting("b", log)], [look, counting("c", log), counting("d", log)]);
    let header = new Metadata();
    await within(
      SOON,
      channel.client(TestServiceDefinition).emptyCall({}, { onHeader: (metadata) => (header = metadata) }),
      "the response",
    );
    expect(seen).to.deep.equal(["a", "b"]);
    expect(header.getAll("passed")).to.deep.equal(["c", "d"]);
  });

  it("may refuse a call on either side", async () => {
    const refuse: Interceptor = async function* () {
      throw new RpcError(Status.UNAUTHENTICATED, "show your papers");
    };
    await open([], [refuse]);
    const test = channel.client(TestServiceDefinition);
    expect((await failure(test.emptyCall({}), Status.UNAUTHENTICATED)).message).to.equal("show your papers");
    const refused = await connect(address, { interceptors: [refuse] });
    await failure(refused.client(TestServiceDefinition).emptyCall({}), Status.UNAUTHENTICATED);
    await refused.close();
  });

  it("may change requests and responses, and answer without the peer", async () => {
    const change: Interceptor = async function* (call, next) {
      if (call.method.path.endsWith("/EmptyCall")) {
        yield {};
        return;
      }
      async function* requests() {
        for await (const request of call.requests) yield { ...(request as SimpleRequest), responseSize: 7 };
      }
      for await (const response of next({ ...call, requests: requests() })) {
        yield { ...(response as object), username: "changed" };
      }
    };
    await open([change], []);
    const test = channel.client(TestServiceDefinition);
    const response = await within(
      SOON,
      test.unaryCall(SimpleRequest.fromPartial({ responseSize: 1 })),
      "the response",
    );
    expect([response.payload!.body.length, response.username]).to.deep.equal([7, "changed"]);
    await server.close();
    expect(await within(SOON, test.emptyCall({}), "the answer")).to.deep.equal({});
  });

  it("see a call's failure, its cancellation, and a reader that leaves", async () => {
    await open([counting("client", log)], [counting("server", log)]);
    const test = channel.client(TestServiceDefinition);
    const responseStatus = { code: Status.ABORTED, message: "no" };
    await failure(test.unaryCall(SimpleRequest.fromPartial({ responseStatus })), Status.ABORTED);
    expect(log.map(({ side, end }) => [side, end])).to.deep.equal([
      ["server", "ABORTED"],
      ["client", "ABORTED"],
    ]);
    log.length = 0;
    const request = StreamingOutputCallRequest.fromPartial({
      responseParameters: Array.from({ length: 100 }, () => ({ size: 100_000 })),
      payload: payload(10),
    });
    for await (const _ of test.streamingOutputCall(request)) break;
    expect(log.map(({ side, end }) => [side, end])).to.deep.equal([["client", "left"]]);
    await until(
      SOON,
      () => log.some(({ side }) => side === "server"),
      () => "the end of the server's interceptor",
    );
    expect(log.map(({ side }) => side)).to.deep.equal(["client", "server"]);
  });
});
