import { expect } from "chai";
import type { Status } from "@sluice/node";
import { RpcError, statusName, type Channel } from "@sluice/node";
import { carriers, native, type Carrier, type Link, type OpenOptions } from "./carriers.js";
import "./hooks.js";
import { within } from "./within.js";

/** How long a call or an event may take before a test says that it did not happen, in milliseconds. */
export const SOON = 20_000;

/** The windows that most carriers have by default, for tests that fill them on every carrier. */
export const WINDOWS = { limits: { streamWindowBytes: 256 << 10, connectionWindowBytes: 16 << 20 } };

/** The same tests on every carrier, or on those that `filter` takes. */
export function onEveryCarrier(
  title: string,
  define: (carrier: Carrier) => void,
  filter: (carrier: Carrier) => boolean = () => true,
): void {
  for (const carrier of carriers.filter(filter)) {
    describe(`${title} over ${carrier.name}${native ? "" : " (fallback)"}`, () => define(carrier));
  }
}

/** The carriers that differ in more than the form of their address: for tests that take long. */
export const distinct = ({ like }: Carrier): boolean => like === undefined;

/** One link for all tests of a suite, opened before the first and closed after the last. */
export function sharedLink(carrier: Carrier, options?: OpenOptions): () => Link {
  let link: Link | undefined;
  before(async () => {
    link = await carrier.open(options);
  });
  after(async () => {
    await link?.close();
  });
  return () => link!;
}

/** What `call` fails with: an RpcError of `code`, within a bounded time. */
export async function failure(call: Promise<unknown>, code: Status, what = "the call"): Promise<RpcError> {
  let error: unknown;
  let value: unknown;
  const ended = call.then(
    (result) => (value = result ?? null),
    (reason: unknown) => (error = reason),
  );
  await within(SOON, ended, `the end of ${what}`);
  if (error === undefined) {
    throw new Error(`${what} succeeded with ${String(value)} instead of ${statusName(code)}`);
  }
  if (!(error instanceof RpcError)) throw error;
  expect(error.codeName, `${what}: ${error.message}`).to.equal(statusName(code));
  return error;
}

/** Every message of a stream, within a bounded time. */
export function collect<T>(messages: AsyncIterable<T>, what = "the stream"): Promise<T[]> {
  const read = async () => {
    const all: T[] = [];
    for await (const message of messages) all.push(message);
    return all;
  };
  return within(SOON, read(), `the end of ${what}`);
}

/** Resolves when the channel is in one of `states`. */
export function reached(channel: Channel, ...states: readonly Channel["state"][]): Promise<void> {
  if (states.includes(channel.state)) return Promise.resolve();
  const event = new Promise<void>((resolve) => {
    const unsubscribe = channel.on("state", (state) => {
      if (!states.includes(state)) return;
      unsubscribe();
      resolve();
    });
  });
  return within(SOON, event, `state ${states.join(" or ")} of a channel that is ${channel.state}`);
}
