/** The service of echo.proto for implementations whose streams are iterables: its handlers, and calls of its streams. */
import { Window } from "../echo-client.js";
import { streamBodies, type BenchClient } from "../implementation.js";

export interface Echo {
  body: Uint8Array;
}

export interface StreamRequest {
  count: number;
  bytes: number;
}

export interface StreamSummary {
  count: number;
}

const held: (() => void)[] = [];

export const handlers = {
  async unary(request: Echo) {
    return request;
  },

  // Its messages are at hand, like those that grpc-js's server writes in a loop.
  *serverStreaming({ count, bytes }: StreamRequest) {
    const messages = streamBodies(bytes).map((body) => ({ body }));
    for (let sent = 0; sent < count; sent++) yield messages[sent % messages.length];
  },

  async clientStreaming(messages: AsyncIterable<Echo>) {
    let count = 0;
    for await (const _ of messages) count++;
    return { count };
  },

  bidiStreaming: (messages: AsyncIterable<Echo>) => messages,

  hold: (request: Echo) => new Promise<Echo>((resolve) => held.push(() => resolve(request))),

  async release(request: Echo) {
    for (const answer of held.splice(0)) answer();
    return request;
  },
};

/** A client of the service, as code generated for it declares one. */
interface Stub {
  unary(request: Echo): Promise<Echo>;
  hold(request: Echo): Promise<Echo>;
  release(request: Echo): Promise<Echo>;
  serverStreaming(request: StreamRequest, options: { readonly signal: AbortSignal }): AsyncIterable<Echo>;
  clientStreaming(messages: Iterable<Echo>): Promise<StreamSummary>;
  bidiStreaming(messages: AsyncIterable<Echo>): AsyncIterable<Echo>;
}

export function callsOf(
  stub: Stub,
): Required<Omit<BenchClient, "unarySync" | "echo" | "timeSlice" | "close">> {
  return {
    unary: () => (body) => stub.unary({ body }),
    hold: (body) => stub.hold({ body }),
    release: (body) => stub.release({ body }),

    async serverStreaming(bytes, count, onMessage) {
      const cancellation = new AbortController();
      for await (const { body } of stub.serverStreaming({ bytes, count }, { signal: cancellation.signal })) {
        if (!onMessage(body)) break;
      }
      // Where leaving the loop does not cancel.
      cancellation.abort();
    },

    async clientStreaming(body, count) {
      return (await stub.clientStreaming(repeat({ body }, count))).count;
    },

    async bidiStreaming(body, inFlight, onBody, onEcho) {
      const message = { body };
      let owed = 0;
      let ended = false;
      let wake = () => {};
      async function* messages() {
        for (;;) {
          for (; owed > 0; owed--) yield message;
          if (ended) return;
          await new Promise<void>((resolve) => (wake = resolve));
        }
      }
      const underWay = new Window(
        inFlight,
        onEcho,
        (times) => {
          owed += times;
          wake();
        },
        () => {
          ended = true;
          wake();
        },
      );
      underWay.open();
      for await (const echoed of stub.bidiStreaming(messages())) {
        onBody(echoed.body);
        underWay.returned(1);
      }
    },
  };
}

function* repeat<T>(message: T, count: number): Generator<T> {
  for (let sent = 0; sent < count; sent++) yield message;
}

/** For implementations that take only this kind of iterable. */
export async function* asynchronous<T>(messages: Iterable<T>): AsyncGenerator<T> {
  yield* messages;
}
