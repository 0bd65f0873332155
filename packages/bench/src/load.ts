/** Loads a client, in the client's process: keeps calls in flight, and times a slice of them. */
import { randomFillSync } from "node:crypto";
// The global of that name is an accessor, which takes longer than to read the clock.
import { performance } from "node:perf_hooks";
import { streamBodies, type BenchClient, type EchoCall, type Echoed, type OnEcho } from "./implementation.js";
import type { Scenario } from "./scenarios.js";
import { percentile, type Slice } from "./statistics.js";

/** How long to load, in milliseconds. */
export interface Timing {
  /** Untimed load first, to fill pipes and caches that another process may just have emptied. */
  readonly leadInMs: number;
  /** The timed part; longer where calls are so slow that it would hold too few of them. */
  readonly sliceMs: number;
  /** It is thrown away: it may hold few calls, and nothing is compared after it. */
  readonly warmUp?: true;
}

/** A slice holds at least this many times as many calls as are in flight, or it would measure how they bunch. */
const GENERATIONS_PER_SLICE = 3;
/** Messages of a stream arrive in bunches, too close together to time one by one; one sample is the mean over so many. */
const MESSAGES_PER_SAMPLE = 100;
const MAX_STREAM_MESSAGES = 0xffff_ffff;
/** After a slice so many calls are compared, or so many messages of a whole stream; fewer of more bytes than that in all. */
const VERIFIED_CALLS = 16;
const VERIFIED_MESSAGES = 1000;
const VERIFIED_BYTES = 4 * 1024 * 1024;

/** What is loaded: the connections of a process to one server, at least one, and how to open more. */
export interface Connections {
  readonly clients: readonly BenchClient[];
  connect(): Promise<BenchClient>;
}

/**
 * Time one slice of `scenario`, then compare what comes back with what was sent, outside the timed part. Rejects when a
 * call fails or an echo differs.
 */
export async function runSlice(connections: Connections, scenario: Scenario, timing: Timing): Promise<Slice> {
  const [client] = connections.clients;
  if (client.timeSlice !== undefined) return client.timeSlice(scenario, timing);
  const meter = new Meter(timing, timing.warmUp ? 1 : GENERATIONS_PER_SLICE * scenario.inFlight);
  const body = randomFillSync(new Uint8Array(scenario.bytes));
  const onEcho: OnEcho = (latencyMs, nowMs) => meter.record(latencyMs, nowMs);
  switch (scenario.kind) {
    case "unary":
      await loadUnary(connections.clients, scenario, body, meter);
      break;
    case "serverStreaming":
      await loadServerStreams(client, scenario, body, meter);
      break;
    case "clientStreaming":
      await loadClientStreams(client, scenario, body, meter);
      break;
    case "bidiStreaming":
      await offered(client.bidiStreaming, scenario)(
        body,
        scenario.inFlight,
        (echoed) => checkLength(echoed, body),
        onEcho,
      );
      break;
    case "echo":
      await offered(client.echo, scenario)(body, scenario.inFlight, onEcho);
      break;
    case "connect":
      await loadConnect(connections, scenario, body, meter);
      break;
  }
  if (!timing.warmUp) await verify(client, scenario);
  return meter.slice();
}

/** Compare what comes back with what was sent. Rejects when they differ, or a call fails. */
export function verify(client: BenchClient, scenario: Scenario): Promise<void> {
  switch (scenario.kind) {
    case "serverStreaming":
      return verifyServerStream(client, scenario);
    case "clientStreaming":
      return sendStream(
        offered(client.clientStreaming, scenario),
        new Uint8Array(scenario.bytes),
        VERIFIED_CALLS,
      );
    case "bidiStreaming":
      return verifyBidiStream(client, scenario);
    default:
      return verifyCalls(client, scenario);
  }
}

async function loadUnary(
  clients: readonly BenchClient[],
  scenario: Scenario,
  body: Uint8Array,
  meter: Meter,
): Promise<void> {
  const [{ unarySync }] = clients;
  if (unarySync !== undefined) return loadSync(unarySync, body, meter);
  const calls = clients.map((client) => client.unary(scenario.option));
  const repeat = async (call: EchoCall) => {
    let began = performance.now();
    for (;;) {
      const reply = await call(body);
      const now = performance.now();
      checkLength(reply.body, body);
      if (!meter.record(now - began, now)) return;
      began = now;
    }
  };
  await Promise.all(
    Array.from({ length: scenario.inFlight }, (_, index) => repeat(calls[index % calls.length])),
  );
}

function loadSync(call: (body: Uint8Array) => Echoed, body: Uint8Array, meter: Meter): void {
  let began = performance.now();
  for (;;) {
    const reply = call(body);
    const now = performance.now();
    checkLength(reply.body, body);
    if (!meter.record(now - began, now)) return;
    began = now;
  }
}

function checkLength(echoed: Uint8Array, body: Uint8Array): void {
  if (echoed.length === body.length) return;
  throw new Error(`${body.length} bytes were sent, ${echoed.length} came back`);
}

async function loadServerStreams(
  client: BenchClient,
  scenario: Scenario,
  body: Uint8Array,
  meter: Meter,
): Promise<void> {
  const serverStreaming = offered(client.serverStreaming, scenario);
  const readOne = async () => {
    let messages = 0;
    let began = performance.now();
    await serverStreaming(scenario.bytes, MAX_STREAM_MESSAGES, (received) => {
      checkLength(received, body);
      if (++messages % MESSAGES_PER_SAMPLE !== 0) return true;
      const now = performance.now();
      const goOn = meter.record((now - began) / MESSAGES_PER_SAMPLE, now, MESSAGES_PER_SAMPLE);
      began = now;
      return goOn;
    });
  };
  await Promise.all(Array.from({ length: scenario.inFlight }, readOne));
}

async function loadClientStreams(
  client: BenchClient,
  scenario: Scenario,
  body: Uint8Array,
  meter: Meter,
): Promise<void> {
  const clientStreaming = offered(client.clientStreaming, scenario);
  const count = wholeStream(scenario);
  const repeat = async () => {
    for (;;) {
      const began = performance.now();
      await sendStream(clientStreaming, body, count);
      const now = performance.now();
      if (!meter.record((now - began) / count, now, count)) return;
    }
  };
  await Promise.all(Array.from({ length: scenario.inFlight }, repeat));
}

async function sendStream(
  clientStreaming: NonNullable<BenchClient["clientStreaming"]>,
  body: Uint8Array,
  count: number,
): Promise<void> {
  const counted = await clientStreaming(body, count);
  if (counted !== count) throw new Error(`of a stream of ${count} messages the server counted ${counted}`);
}

/** Connect, call once, and close, again and again; closing is no part of the latency. */
async function loadConnect(
  connections: Connections,
  scenario: Scenario,
  body: Uint8Array,
  meter: Meter,
): Promise<void> {
  const repeat = async () => {
    for (let goOn = true; goOn;) {
      const began = performance.now();
      const client = await connections.connect();
      checkLength((await client.unary()(body)).body, body);
      const now = performance.now();
      await client.close();
      goOn = meter.record(now - began, now);
    }
  };
  await Promise.all(Array.from({ length: scenario.inFlight }, repeat));
}

async function verifyCalls(client: BenchClient, scenario: Scenario): Promise<void> {
  const call = client.unary(scenario.option);
  const calls = Math.min(scenario.inFlight, atMost(VERIFIED_CALLS, scenario));
  await Promise.all(
    Array.from({ length: calls }, async () => {
      const sent = randomFillSync(new Uint8Array(scenario.bytes));
      const { body } = await call(sent);
      checkEqual(body, sent);
    }),
  );
}

async function verifyServerStream(client: BenchClient, scenario: Scenario): Promise<void> {
  const expected = streamBodies(scenario.bytes);
  const count = wholeStream(scenario);
  let messages = 0;
  await offered(client.serverStreaming, scenario)(scenario.bytes, count, (body) => {
    if (!equal(body, expected[messages % expected.length])) {
      throw new Error(`message ${messages} of a stream is not the one that the server sent then`);
    }
    messages++;
    return true;
  });
  if (messages !== count) throw new Error(`a stream of ${count} messages ended after ${messages}`);
}

async function verifyBidiStream(client: BenchClient, scenario: Scenario): Promise<void> {
  const sent = randomFillSync(new Uint8Array(scenario.bytes));
  let messages = 0;
  await offered(client.bidiStreaming, scenario)(
    sent,
    scenario.inFlight,
    (body) => checkEqual(body, sent),
    () => ++messages < VERIFIED_CALLS,
  );
}

function wholeStream(scenario: Scenario): number {
  return atMost(VERIFIED_MESSAGES, scenario);
}

function atMost(messages: number, { bytes }: Scenario): number {
  return Math.min(messages, Math.ceil(VERIFIED_BYTES / bytes));
}

function checkEqual(echoed: Uint8Array, sent: Uint8Array): void {
  if (!equal(echoed, sent)) throw new Error("an echo differs from what was sent");
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function offered<T>(method: T | undefined, { implementation, kind }: Scenario): T {
  if (method === undefined) throw new Error(`${implementation} has no ${kind}`);
  return method;
}

/** Samples from a first completed call after the lead-in to the one that ends the slice. */
class Meter {
  readonly #sliceMs: number;
  readonly #minCalls: number;
  /** Reused by all slices of a process: allocating it would be part of what is timed. */
  static #latencies = new Float64Array(1 << 16);
  #samples = 0;
  #calls = 0;
  #state: "lead-in" | "timed" | "over" = "lead-in";
  /** When the lead-in ends, then when the slice does. */
  #until: number;
  #beganMs = 0;
  #endedMs = 0;

  constructor(timing: Timing, minCalls: number) {
    this.#sliceMs = timing.sliceMs;
    this.#minCalls = minCalls;
    this.#until = performance.now() + timing.leadInMs;
  }

  /** Count `calls` that ended at `nowMs` and took `latencyMs` each. False when the load should end. */
  record(latencyMs: number, nowMs: number, calls = 1): boolean {
    if (this.#state === "timed") {
      if (this.#samples === Meter.#latencies.length) Meter.#grow();
      Meter.#latencies[this.#samples++] = latencyMs;
      this.#calls += calls;
      if (nowMs < this.#until || this.#calls < this.#minCalls) return true;
      this.#endedMs = nowMs;
      this.#state = "over";
      return false;
    }
    if (this.#state === "over") return false;
    if (nowMs >= this.#until) {
      this.#state = "timed";
      this.#beganMs = nowMs;
      this.#until = nowMs + this.#sliceMs;
    }
    return true;
  }

  slice(): Slice {
    if (this.#state !== "over") throw new Error("the load ended by itself before its time was up");
    const sorted = Meter.#latencies.subarray(0, this.#samples).sort();
    return {
      calls: this.#calls,
      callsPerSecond: this.#calls / ((this.#endedMs - this.#beganMs) / 1000),
      p50Us: percentile(sorted, 0.5) * 1000,
      p90Us: percentile(sorted, 0.9) * 1000,
      p99Us: percentile(sorted, 0.99) * 1000,
      p999Us: percentile(sorted, 0.999) * 1000,
    };
  }

  static #grow(): void {
    const larger = new Float64Array(Meter.#latencies.length * 2);
    larger.set(Meter.#latencies);
    Meter.#latencies = larger;
  }
}
