/** Loads a client, in the client's process: keeps calls in flight, and times a slice of them. */
import { randomFillSync } from "node:crypto";
import { streamBodies, type BenchClient, type Echoed } from "./implementation.js";
import type { Scenario } from "./scenarios.js";
import { percentile, type Slice } from "./statistics.js";

/** How long to load, in milliseconds. */
export interface Timing {
  /** Untimed load first, to fill pipes and caches that another process may just have emptied. */
  readonly leadInMs: number;
  /** The timed part; longer where calls are so slow that it would hold too few of them. */
  readonly sliceMs: number;
}

/** A slice holds at least this many times as many calls as are in flight, or it would measure how they bunch. */
const GENERATIONS_PER_SLICE = 3;
/** Messages of a stream arrive in bunches, too close together to time one by one; one sample is the mean over so many. */
const MESSAGES_PER_SAMPLE = 100;
const MAX_STREAM_MESSAGES = 0xffff_ffff;
const VERIFIED_CALLS = 16;
const VERIFIED_MESSAGES = 1000;

/**
 * Time one slice of `scenario`, then compare what comes back with what was sent, outside the timed part. Rejects when a
 * call fails or an echo differs.
 */
export async function runSlice(client: BenchClient, scenario: Scenario, timing: Timing): Promise<Slice> {
  if (client.timeSlice !== undefined) return client.timeSlice(scenario, timing);
  const meter = new Meter(timing, GENERATIONS_PER_SLICE * scenario.inFlight);
  const body = randomFillSync(new Uint8Array(scenario.bytes));
  switch (scenario.kind) {
    case "unary":
      await loadUnary(client, scenario, body, meter);
      break;
    case "serverStreaming":
      await loadStreams(client, scenario, meter);
      break;
    case "echo":
      await offered(client.echo, scenario)(body, scenario.inFlight, (latencyMs, nowMs) =>
        meter.record(latencyMs, nowMs),
      );
      break;
  }
  await verify(client, scenario);
  return meter.slice();
}

/** Compare what comes back with what was sent. Rejects when they differ, or a call fails. */
export function verify(client: BenchClient, scenario: Scenario): Promise<void> {
  return scenario.kind === "serverStreaming" ? verifyStream(client, scenario) : verifyCalls(client, scenario);
}

async function loadUnary(
  client: BenchClient,
  scenario: Scenario,
  body: Uint8Array,
  meter: Meter,
): Promise<void> {
  if (client.unarySync !== undefined) return loadSync(client.unarySync, body, meter);
  const call = client.unary(scenario.option);
  const repeat = async () => {
    let began = performance.now();
    for (;;) {
      const reply = await call(body);
      const now = performance.now();
      checkLength(reply, body);
      if (!meter.record(now - began, now)) return;
      began = now;
    }
  };
  await Promise.all(Array.from({ length: scenario.inFlight }, repeat));
}

function loadSync(call: (body: Uint8Array) => Echoed, body: Uint8Array, meter: Meter): void {
  let began = performance.now();
  for (;;) {
    const reply = call(body);
    const now = performance.now();
    checkLength(reply, body);
    if (!meter.record(now - began, now)) return;
    began = now;
  }
}

function checkLength(reply: Echoed, body: Uint8Array): void {
  if (reply.body.length === body.length) return;
  throw new Error(`${body.length} bytes were sent, ${reply.body.length} came back`);
}

async function loadStreams(client: BenchClient, scenario: Scenario, meter: Meter): Promise<void> {
  const serverStreaming = offered(client.serverStreaming, scenario);
  const readOne = async () => {
    let messages = 0;
    let began = performance.now();
    await serverStreaming(scenario.bytes, MAX_STREAM_MESSAGES, () => {
      if (++messages % MESSAGES_PER_SAMPLE !== 0) return true;
      const now = performance.now();
      const goOn = meter.record((now - began) / MESSAGES_PER_SAMPLE, now, MESSAGES_PER_SAMPLE);
      began = now;
      return goOn;
    });
  };
  await Promise.all(Array.from({ length: scenario.inFlight }, readOne));
}

async function verifyCalls(client: BenchClient, scenario: Scenario): Promise<void> {
  const call = client.unary(scenario.option);
  const calls = Math.min(scenario.inFlight, VERIFIED_CALLS);
  await Promise.all(
    Array.from({ length: calls }, async () => {
      const sent = randomFillSync(new Uint8Array(scenario.bytes));
      const { body } = await call(sent);
      if (!equal(body, sent)) throw new Error("an echo differs from what was sent");
    }),
  );
}

async function verifyStream(client: BenchClient, scenario: Scenario): Promise<void> {
  const expected = streamBodies(scenario.bytes);
  let messages = 0;
  await offered(client.serverStreaming, scenario)(scenario.bytes, VERIFIED_MESSAGES, (body) => {
    if (!equal(body, expected[messages % expected.length])) {
      throw new Error(`message ${messages} of a stream is not the one that the server sent then`);
    }
    messages++;
    return true;
  });
  if (messages !== VERIFIED_MESSAGES) {
    throw new Error(`a stream of ${VERIFIED_MESSAGES} messages ended after ${messages}`);
  }
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
      p99Us: percentile(sorted, 0.99) * 1000,
    };
  }

  static #grow(): void {
    const larger = new Float64Array(Meter.#latencies.length * 2);
    larger.set(Meter.#latencies);
    Meter.#latencies = larger;
  }
}
