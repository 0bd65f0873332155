/* eslint-disable @typescript-eslint/no-unused-vars, @typescript-eslint/no-unsafe-call -- what is wrong, or used for its type only, is the test */
/** Synchronous clients are typed by the Definition, too: see client.ts. */
import type { SyncCallOptions } from "@sluice/core";
import { connectSync, createSyncClient } from "@sluice/node";
import { KindsDefinition, type Answer, type Question } from "../gen/sluice/testing/kinds.js";
import { expectType, type Same } from "./expect.js";

export function clients(question: Question): void {
  const client = createSyncClient(KindsDefinition, "shm:kinds", { timeoutMs: 5, wait: "semaphore" });
  expectType<Same<keyof typeof client, "unary" | "serverStream" | "delete" | "close">>();
  expectType<Same<typeof client.unary, (request: Question, options?: SyncCallOptions) => Answer>>();
  expectType<
    Same<
      typeof client.serverStream,
      (request: Question, options?: SyncCallOptions) => IterableIterator<Answer>
    >
  >();

  const answer = client.unary(question, { timeoutMs: 5, metadata: { key: "value" } });
  expectType<Same<typeof answer, Answer>>();
  for (const { length } of client.serverStream(question)) expectType<Same<typeof length, number>>();
  client.close();

  const channel = connectSync("unix:/kinds.sock");
  expectType<
    Same<keyof ReturnType<typeof channel.client<typeof KindsDefinition>>, "unary" | "serverStream" | "delete">
  >();

  // @ts-expect-error: a stream of requests cannot be sent by a call that blocks
  client.clientStream([question]);
  // @ts-expect-error: nor one both ways
  client.bidi([question]);
  // @ts-expect-error: nothing can abort while the thread is blocked
  client.unary(question, { signal: AbortSignal.abort() });
  // @ts-expect-error: a response, not a promise of one
  void client.unary(question).then();
  // @ts-expect-error: a field is missing
  client.unary({ text: "" });
}
