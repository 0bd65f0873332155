/* eslint-disable @typescript-eslint/no-unused-vars -- what is wrong, or used for its type only, is the test */
/** Handlers are typed by the Definition that they implement. Compiling this file is the test. */
import type { Handler, Implementation, Server, ServerContext } from "@sluice/core";
import { from, type Observable } from "rxjs";
import { KindsDefinition, type Answer, type Question } from "../gen/sluice/testing/kinds.js";
import { expectType, type Same } from "./expect.js";

export function handlers(server: Server, question: Question, answer: Answer): void {
  // Parameters need no annotation.
  const implementation: Implementation<typeof KindsDefinition> = {
    async unary(request, context) {
      expectType<Same<typeof request, Question>>();
      expectType<Same<typeof context, ServerContext>>();
      return { length: request.text.length, back: [request] };
    },
    async *serverStream(request, context) {
      expectType<Same<typeof request, Question>>();
      context.setHeader("key", "value");
      yield answer;
    },
    async clientStream(requests, context) {
      expectType<Same<typeof requests, AsyncIterable<Question>>>();
      context.signal.throwIfAborted();
      for await (const { attachment } of requests) {
        if (attachment?.$case === "raw") expectType<Same<typeof attachment.value, Uint8Array>>();
      }
      return answer;
    },
    async *bidi(requests) {
      for await (const request of requests) yield { length: 0, back: [request] };
    },
    delete: () => answer, // A handler with nothing to wait for need not be async.
  };
  server.add(KindsDefinition, implementation);

  // The same without a name for it.
  server.add(KindsDefinition, {
    ...implementation,
    unary: (request) => ({ length: request.text.length, back: [] }),
    serverStream: (request) => from([{ length: request.text.length, back: [] }]),
  });

  // Messages that are at hand need no async iterable.
  server.add(KindsDefinition, {
    ...implementation,
    *serverStream() {
      yield answer;
    },
    bidi: () => [answer, answer],
  });

  // Calls back to the caller are typed as all others.
  server.on("connection", (channel) => {
    expectType<
      Same<ReturnType<ReturnType<typeof channel.client<typeof KindsDefinition>>["unary"]>, Promise<Answer>>
    >();
    channel.add(KindsDefinition, implementation);
  });

  type Methods = (typeof KindsDefinition)["methods"];
  const unary: Handler<Methods["unary"]> = () => answer;
  const serverStream: Handler<Methods["serverStream"]> = (): Observable<Answer> => from([answer]);
  void [unary, serverStream];

  const { bidi: _missing, ...incomplete } = implementation;
  // @ts-expect-error: a handler is missing
  server.add(KindsDefinition, incomplete);
  // @ts-expect-error: a handler for a method that there is not
  server.add(KindsDefinition, { ...implementation, other: () => answer });
  // @ts-expect-error: a response of another type
  server.add(KindsDefinition, { ...implementation, unary: async () => question });
  // @ts-expect-error: a response with a field missing
  server.add(KindsDefinition, { ...implementation, unary: async () => ({ length: 1 }) });
  // @ts-expect-error: a promise where a stream must be
  server.add(KindsDefinition, { ...implementation, serverStream: async () => answer });
  // @ts-expect-error: a stream where one response must be
  server.add(KindsDefinition, { ...implementation, clientStream: () => from([answer]) });
  // @ts-expect-error: a stream of another type
  server.add(KindsDefinition, { ...implementation, bidi: () => from([question]) });
  // @ts-expect-error: an array of another type
  server.add(KindsDefinition, { ...implementation, bidi: () => [question] });
  // @ts-expect-error: a handler that wants another request
  server.add(KindsDefinition, { ...implementation, unary: async (request: Answer) => request });
  // @ts-expect-error: not a handler
  server.add(KindsDefinition, { ...implementation, unary: answer });
  // @ts-expect-error: not a Definition
  server.add({ name: "Kinds", fullName: "sluice.testing.Kinds" }, implementation);
}
