/* eslint-disable @typescript-eslint/no-unused-vars, @typescript-eslint/no-unsafe-call, @typescript-eslint/await-thenable -- what is wrong, or used for its type only, is the test */
/**
 * Clients are typed by the Definition that they are made from. Compiling this file is the test: it fails to compile
 * when a type is not as claimed, or when what must not compile does.
 */
import type { CallOptions, Channel, Client } from "@sluice/core";
import { KindsDefinition, type Answer, type Question } from "../gen/sluice/testing/kinds.js";
import { expectType, type Same } from "./expect.js";

export async function clients(channel: Channel, question: Question, answer: Answer): Promise<void> {
  const client = channel.client(KindsDefinition);
  expectType<Same<typeof client, Client<typeof KindsDefinition>>>();
  expectType<Same<keyof typeof client, "unary" | "serverStream" | "clientStream" | "bidi" | "delete">>();

  type Requests = AsyncIterable<Question> | Iterable<Question>;
  type Unary = (request: Question, options?: CallOptions) => Promise<Answer>;
  type ServerStream = (request: Question, options?: CallOptions) => AsyncIterable<Answer>;
  type ClientStream = (requests: Requests, options?: CallOptions) => Promise<Answer>;
  type Bidi = (requests: Requests, options?: CallOptions) => AsyncIterable<Answer>;
  expectType<Same<typeof client.unary, Unary>>();
  expectType<Same<typeof client.delete, Unary>>();
  expectType<Same<typeof client.serverStream, ServerStream>>();
  expectType<Same<typeof client.clientStream, ClientStream>>();
  expectType<Same<typeof client.bidi, Bidi>>();

  // Optional fields may be left out; so may a oneof only by saying so.
  const response = await client.unary({ text: "how long?", attachment: undefined });
  expectType<Same<typeof response, Answer>>();
  expectType<Same<(typeof response)["back"], Question[]>>();
  expectType<Same<Question["number"], bigint | undefined>>();
  await client.unary({ text: "", number: 1n, attachment: { $case: "raw", value: new Uint8Array(1) } });
  for await (const { length } of client.serverStream(question)) expectType<Same<typeof length, number>>();
  await client.clientStream([question, question]);
  for await (const { back } of client.bidi(questions(question))) expectType<Same<typeof back, Question[]>>();

  const signal = AbortSignal.abort();
  await client.unary(question, { timeoutMs: 5, deadline: new Date(), signal, metadata: { key: "value" } });
  await client.unary(question, { onHeader: (header) => header.get("key"), waitForReady: true });

  // @ts-expect-error: no such method
  await client.other(question);
  // @ts-expect-error: methods are called by the name in the Definition, not by the one in the .proto file
  await client.Unary(question);
  // @ts-expect-error: a field is missing
  await client.unary({ text: "" });
  // @ts-expect-error: no such field
  await client.unary({ ...question, txt: "" });
  // @ts-expect-error: a field of another type
  await client.unary({ ...question, number: 1 });
  // @ts-expect-error: a oneof has one value, of its case's type
  await client.unary({ ...question, attachment: { $case: "raw", value: "text" } });
  // @ts-expect-error: another message type
  await client.unary(answer);
  // @ts-expect-error: a request, not a stream of them
  await client.unary([question]);
  // @ts-expect-error: a response is not a stream
  for await (const one of client.unary(question)) void one;
  // @ts-expect-error: a stream is not a promise of a response
  void client.serverStream(question).then();
  // @ts-expect-error: a stream of requests, not one
  await client.clientStream(question);
  // @ts-expect-error: a stream of another message type
  for await (const one of client.bidi([answer])) void one;
  // @ts-expect-error: no such option
  await client.unary(question, { timeout: 5 });
  // @ts-expect-error: an option of another type
  await client.unary(question, { timeoutMs: "5" });
  // @ts-expect-error: clients are not changed
  client.unary = () => Promise.resolve(answer);
  // @ts-expect-error: not a Definition
  channel.client({ name: "Kinds" });
}

async function* questions(question: Question): AsyncGenerator<Question> {
  yield question;
}
