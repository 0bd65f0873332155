/** What a connection can be doing when one of its ends dies or stands still. */
import { type Channel } from "@sluice/node";
import { ProbeDefinition } from "./gen/sluice/testing/probe.js";
import { payload } from "./payload.js";
import { deferred } from "./within.js";

const BODY = payload(16 << 10).body;

/** One of the states: bring `channel` into it, and return the calls that are then in flight. */
type State = (channel: Channel) => Promise<readonly Promise<unknown>[]>;

/** Bring `channel` into a state and return the calls that are then in flight, whose ends may be looked at later. */
export async function enter(
  name: keyof typeof states,
  channel: Channel,
): Promise<readonly Promise<unknown>[]> {
  const calls = await states[name](channel);
  for (const call of calls) call.catch(() => {});
  return calls;
}

function* endless<T>(message: T): Generator<T> {
  for (;;) yield message;
}

/** Read a stream to its end, and say when its first message has come. */
function drainInto(first: () => void, messages: AsyncIterable<unknown>): Promise<unknown> {
  const read = async () => {
    for await (const _ of messages) first();
  };
  return read();
}

const states = {
  async idle() {
    return [];
  },
  async "a unary call in flight"(channel) {
    const running = deferred();
    const call = channel
      .client(ProbeDefinition)
      .hold({ key: "in flight" }, { onHeader: () => running.resolve() });
    await Promise.race([running.promise, call]);
    return [call];
  },
  async "streaming from the server"(channel) {
    const running = deferred();
    const messages = channel.client(ProbeDefinition).produce({ count: 0, bytes: BODY.length });
    const call = drainInto(running.resolve, messages);
    await Promise.race([running.promise, call]);
    return [call];
  },
  async "streaming from the server to a reader that sleeps"(channel) {
    const messages = channel.client(ProbeDefinition).produce({ count: 0, bytes: BODY.length });
    const iterator = messages[Symbol.asyncIterator]();
    await iterator.next();
    const read = async () => {
      // What had arrived before the end may still be read.
      while (!(await iterator.next()).done);
    };
    return [new Promise((resolve, reject) => ends(channel, () => read().then(resolve, reject)))];
  },
  async "streaming from the client"(channel) {
    const running = deferred();
    const chunks = endless({ index: 0, body: BODY, hold: "" });
    const probe = channel.client(ProbeDefinition);
    function* first() {
      yield { index: 0, body: BODY, hold: "" };
      running.resolve();
      yield* chunks;
    }
    const call = probe.consume(first());
    await Promise.race([running.promise, call]);
    return [call];
  },
  async "streaming both ways"(channel) {
    const running = deferred();
    const requests = endless({ count: 1, bytes: BODY.length, body: BODY });
    const call = drainInto(running.resolve, channel.client(ProbeDefinition).exchange(requests));
    await Promise.race([running.promise, call]);
    return [call];
  },
} satisfies Record<string, State>;

/** The state without a call, and those with one in flight. */
export const stateNames = Object.keys(states) as (keyof typeof states)[];

/** Call `then` when the channel has lost its connection. */
function ends(channel: Channel, then: () => void): void {
  const unsubscribe = channel.on("state", (state) => {
    if (state === "ready") return;
    unsubscribe();
    then();
  });
}
