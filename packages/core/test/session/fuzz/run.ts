import { Channel, RpcError, Status, type CallOptions, type Limits, type ServerContext } from "@sluice/core";
import type { Session } from "#core/session.js";
import type { Frame, SimulatedConnection } from "../simulation/link.js";
import { dataOf, TestDefinition, type Part } from "../simulation/service.js";
import { Simulation } from "../simulation/simulation.js";
import { CallRecord } from "./model.js";
import { Planner, type Plan } from "./plan.js";

const ADDRESS = "sim:link";

/** One seed's world: two peers on one link, and the calls that they make to each other. */
class World {
  readonly seed: number;
  readonly simulation: Simulation;
  readonly records = new Map<number, CallRecord>();
  readonly trace: string[] = [];
  readonly #planner: Planner;
  readonly #channels: readonly Channel[];
  readonly #clients;
  readonly #connections: readonly SimulatedConnection[];
  readonly #limits: readonly Limits[];
  readonly #calls: Promise<void>[] = [];
  readonly #maxMessageBytes: number;
  readonly #calm: boolean;
  readonly #closes: Promise<void>[] = [];
  /** The connection has died, or is being closed. */
  #lost = false;
  #failure: unknown = undefined;

  constructor(seed: number, tracing: boolean) {
    this.seed = seed;
    const simulation = (this.simulation = new Simulation(seed));
    const { random } = simulation;
    this.#calm = random.chance(0.4);
    this.#maxMessageBytes = random.pick([3000, 20_000, 100_000, 400_000]);
    this.#limits = [this.#randomLimits(), this.#randomLimits()];
    this.#connections = simulation.link({
      maxFrameBytes: random.pick([4096, 5000, 16 << 10, (64 << 10) + 1024]),
      capacityBytes: random.magnitude(4096, 512 << 10),
      backPressure: random.pick([0, 0, 0.1, 0.5]),
      largeFrames: random.pick([0, 0, 1, 3]),
    });
    this.#planner = new Planner(random, { maxMessageBytes: this.#maxMessageBytes, calm: this.#calm });
    this.#channels = this.#limits.map((limits) => {
      const { streamWindowBytes, connectionWindowBytes } = limits;
      const options = { limits: { streamWindowBytes: 1 << 20, connectionWindowBytes: 1 << 20 } };
      const channel = new Channel({ address: ADDRESS, options, clock: simulation.clock });
      // Below what users may set, so that every window is full at some time.
      Object.assign(channel, { limits });
      Object.assign(options.limits, { streamWindowBytes, connectionWindowBytes });
      return channel.add(TestDefinition, this.#implementation(), { lendBytes: random.chance(0.5) });
    });
    this.#clients = this.#channels.map((channel) => channel.client(TestDefinition));
    if (tracing) {
      this.#connections.forEach(
        (connection, end) => (connection.onCommit = (frame) => this.#log(end, frame)),
      );
    }
  }

  #randomLimits(): Limits {
    const { random } = this.simulation;
    return {
      maxMessageBytes: this.#maxMessageBytes,
      maxMetadataBytes: 8192,
      maxConcurrentStreams: random.pick([1, 2, 3, 6, 100]),
      streamWindowBytes: random.magnitude(4096, 256 << 10),
      connectionWindowBytes: random.magnitude(4096, 512 << 10),
      reassemblyBytes: random.magnitude(1, 2 * this.#maxMessageBytes),
      handshakeTimeoutMs: 10_000,
      maxQueuedCalls: 1000,
    };
  }

  async run(): Promise<void> {
    const { random } = this.simulation;
    const count = random.magnitude(1, 30);
    for (let i = 0; i < count; i++) this.start(this.#planner.call(random.pick([0, 1] as const)));
    const fate = this.#calm
      ? "live"
      : random.pick(["live", "live", "live", "die", "drain", "drain"] as const);
    if (fate !== "live") void this.#end(fate).catch((error: unknown) => this.#fail(error));
    this.#channels.forEach((channel, end) => channel.attach(this.#connections[end], end === 0));
    await this.simulation.run(3_600_000, 2_000_000);
    this.#examine();
  }

  /** Something ends the connection at a random moment. */
  async #end(fate: "die" | "drain"): Promise<void> {
    const { simulation } = this;
    for (let i = simulation.random.magnitude(0, 200); i > 0; i--) await simulation.pause();
    this.#lost = true;
    if (fate === "die") this.#connections[simulation.random.integer(0, 1)].destroy(new Error("it died"));
    else {
      const timeoutMs = simulation.random.pick([1, 10_000, 1_000_000]);
      this.#closes.push(this.#channels[simulation.random.integer(0, 1)].close({ timeoutMs }));
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
  }

  // ------------------------------------------------------------------------------------------------ Callers

  start(plan: Plan, parent?: ServerContext): void {
    const record = new CallRecord(plan);
    this.records.set(plan.number, record);
    this.#calls.push(this.#call(record, parent).catch((error: unknown) => this.#fail(error)));
  }

  async #call(record: CallRecord, parent: ServerContext | undefined): Promise<void> {
    const { plan } = record;
    const { simulation } = this;
    const { random, clock } = simulation;
    if (plan.parent === undefined) {
      for (let i = random.magnitude(0, 30); i > 0; i--) await simulation.pause();
      // Calls are made on a connection that is ready; how they wait for one is tested elsewhere.
      while (this.#channels[plan.caller].state === "idle") await simulation.pause();
    }
    const controller = new AbortController();
    const cancel = (): void => {
      record.cancelled ||= !record.settled;
      controller.abort();
    };
    if (plan.cancelAfter !== undefined) void this.#after(plan.cancelAfter, cancel);
    record.startedAt = clock.now();
    record.begun = true;
    const options: CallOptions = {
      ...(plan.cancelAfter !== undefined || plan.cancelsInEncoding ? { signal: controller.signal } : {}),
      ...(plan.timeoutMs === undefined ? {} : { timeoutMs: plan.timeoutMs }),
      ...(parent === undefined ? {} : { parent }),
      metadata: { call: String(plan.number), "pad-bin": new Uint8Array(plan.metadataBytes) },
      lendBytes: plan.kind !== "unary" && plan.kind !== "clientStream" && random.chance(0.5),
      onHeader: () => void record.headers++,
      onTrailer: () => void record.trailers++,
    };
    const client = this.#clients[plan.caller];
    const requests = (): AsyncIterable<Part> | Iterable<Part> => this.#source(record, cancel);
    const request = (): Part => {
      record.requestsGiven = 1;
      return this.#request(record, 0, cancel);
    };
    try {
      if (plan.kind === "unary") record.takeResponse(await client.unary(request(), options));
      else if (plan.kind === "clientStream")
        record.takeResponse(await client.clientStream(requests(), options));
      else {
        const responses =
          plan.kind === "serverStream"
            ? client.serverStream(request(), options)
            : client.bidi(requests(), options);
        for await (const response of responses) {
          record.takeResponse(response);
          if (record.responsesTaken === plan.breakAfter) {
            record.brokeOff = true;
            return;
          }
          if (random.chance(plan.callerPause)) await simulation.pause();
        }
      }
      record.settle("OK", this.now);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      record.settle(error, this.now);
    }
  }

  get now(): number {
    return this.simulation.clock.now();
  }

  async #after(pauses: number, action: () => void): Promise<void> {
    for (let i = 0; i < pauses; i++) await this.simulation.pause();
    action();
  }

  #source(record: CallRecord, cancel: () => void): AsyncIterable<Part> | Iterable<Part> {
    const { plan } = record;
    const { simulation } = this;
    const { random } = simulation;
    const request = (at: number): Part => this.#request(record, at, cancel);
    function check(at: number): void {
      if (at !== plan.sourceFailsAt) return;
      record.sourceFailed = true;
      throw new Error("the source of requests failed");
    }
    function* array(): Generator<Part> {
      for (let at = 0; at < plan.requests.length; at++) {
        check(at);
        record.requestsGiven++;
        yield request(at);
      }
      check(plan.requests.length);
      record.sourceEnded = true;
    }
    async function* generator(): AsyncGenerator<Part> {
      for (let at = 0; at < plan.requests.length; at++) {
        if (random.chance(plan.callerPause)) await simulation.pause();
        check(at);
        record.requestsGiven++;
        yield request(at);
      }
      if (random.chance(plan.callerPause)) await simulation.pause();
      check(plan.requests.length);
      record.sourceEnded = true;
    }
    if (plan.source === "array") return array();
    if (plan.source === "generator") return generator();
    // An Observable that gives everything at once.
    return {
      subscribe(observer: { next(part: Part): void; error(error: unknown): void; complete(): void }) {
        try {
          for (const part of array()) observer.next(part);
          observer.complete();
        } catch (error) {
          observer.error(error);
        }
        return { unsubscribe: () => {} };
      },
    } as unknown as AsyncIterable<Part>;
  }

  #request(record: CallRecord, at: number, cancel: () => void): Part {
    const { plan } = record;
    const data = dataOf(plan.number, at, plan.requests[at]);
    const isLast = at === plan.requests.length - 1;
    const encodesCall = at === 0 && plan.encodesCall !== undefined;
    if (!encodesCall && !(isLast && plan.cancelsInEncoding)) return { index: at, data };
    const start = encodesCall ? (): void => this.start(plan.encodesCall!) : undefined;
    const stop = isLast && plan.cancelsInEncoding ? cancel : undefined;
    let first = true;
    return {
      index: at,
      get data() {
        if (first) {
          first = false;
          start?.();
          stop?.();
        }
        return data;
      },
    };
  }

  // ------------------------------------------------------------------------------------------------ Handlers

  #implementation() {
    const record = (context: ServerContext): CallRecord => {
      const found = this.records.get(Number(context.metadata.get("call")));
      if (found === undefined) throw new Error("a handler was called for a call that nobody made");
      return found;
    };
    const one = async (requests: AsyncIterable<Part> | Part, context: ServerContext): Promise<Part> => {
      let response: Part | undefined = undefined;
      for await (const part of this.#handle(record(context), requests, context)) response = part;
      return response!;
    };
    const many = (requests: AsyncIterable<Part> | Part, context: ServerContext): AsyncIterable<Part> =>
      this.#handle(record(context), requests, context);
    return { unary: one, clientStream: one, serverStream: many, bidi: many };
  }

  async *#handle(
    record: CallRecord,
    requests: AsyncIterable<Part> | Part,
    context: ServerContext,
  ): AsyncGenerator<Part> {
    const { plan } = record;
    const { simulation } = this;
    const { random } = simulation;
    record.handlers++;
    try {
      if (plan.callsBack !== undefined) this.start(plan.callsBack, context);
      if (plan.sendsHeader !== "never") context.setHeader("header", "here");
      if (plan.sendsHeader === "early") context.sendHeader();
      const reading = this.#read(record, requests).catch((error: unknown) => {
        // The caller is gone, or has cancelled, or this handler is over: the model knows from the outcome.
        if (!(error instanceof RpcError)) this.#fail(error);
      });
      if (plan.readsFirst) await reading;
      if (context.signal.aborted) return;
      for (const [at, size] of plan.responses.entries()) {
        if (random.chance(plan.handlerPause)) await simulation.pause();
        if (plan.ending === "throw" && at === plan.responses.length - 1) break;
        record.responsesGiven++;
        yield { index: at, data: dataOf(plan.number, 1_000_000 + at, size) };
      }
      if (plan.ending === "stall") {
        await new Promise<void>((resolve) => {
          if (context.signal.aborted) resolve();
          else context.signal.addEventListener("abort", () => resolve(), { once: true });
        });
        return;
      }
      if (plan.ending === "throw") {
        record.handlerThrew = true;
        throw new RpcError(Status.ABORTED, "the handler says no");
      }
      if (context.signal.aborted) return;
      context.setTrailer("trailer", "there");
      record.handlerReturned = true;
    } finally {
      record.handlersEnded++;
    }
  }

  async #read(record: CallRecord, requests: AsyncIterable<Part> | Part): Promise<void> {
    const { plan } = record;
    if (!(Symbol.asyncIterator in requests)) return record.takeRequest(requests);
    if (plan.readsOnly === 0) return;
    for await (const request of requests) {
      record.takeRequest(request);
      if (record.requestsTaken === plan.readsOnly) return;
      if (this.simulation.random.chance(plan.handlerPause)) await this.simulation.pause();
    }
    record.sawEndOfRequests = true;
    if (!record.sourceEnded || record.requestsTaken !== plan.requests.length) {
      throw new Error(
        `${record.name} ended its requests after ${record.requestsTaken} of ${plan.requests.length}`,
      );
    }
  }

  // ------------------------------------------------------------------------------------------------ Verdict

  /** Nothing can happen any more: everything must be over, and everything given back. */
  #examine(): void {
    if (this.#failure !== undefined) throw this.#failure as Error;
    for (const { thrown } of this.#connections) if (thrown !== undefined) throw thrown as Error;
    for (const record of this.records.values()) {
      if (!record.settled) throw new Error(`${record.name} hangs`);
      if (record.handlers !== record.handlersEnded) throw new Error(`the handler of ${record.name} hangs`);
      record.judge({ lost: this.#lost, maxMessageBytes: this.#maxMessageBytes, records: this.records });
    }
    this.#connections.forEach((connection, end) => {
      const session = connection.handler as Session;
      if (connection.closed) {
        if (!this.#lost) throw new Error(`the connection ended although nothing ended it`);
        return;
      }
      if (this.#closes.length > 0) throw new Error("a drained connection did not close");
      const usage = JSON.stringify(session.usage);
      const idle = JSON.stringify({
        localStreams: 0,
        remoteStreams: 0,
        handlers: 0,
        unreturnedBytes: 0,
        partialMessages: 0,
        partialBytes: 0,
        sentPartialBytes: 0,
      });
      if (usage !== idle) throw new Error(`end ${end} does not rest: ${usage}`);
    });
  }

  /** Everything that is not over, for people. */
  describe(): string {
    const calls = [...this.records.values()].filter(
      (record) => !record.settled || record.handlers > record.handlersEnded,
    );
    const ends = this.#connections.map(
      (connection, end) =>
        `end ${end}: ${JSON.stringify((connection.handler as Session | undefined)?.usage)}` +
        ` ${JSON.stringify(this.#limits[end])}`,
    );
    return [...this.trace, ...ends, ...calls.map((record) => record.describe())].join("\n");
  }

  #log(end: number, frame: Frame): void {
    const names = [
      "?",
      "HELLO",
      "OPEN",
      "HEADERS",
      "DATA",
      "END",
      "RESET",
      "CREDIT",
      "PING",
      "PONG",
      "GOAWAY",
    ];
    const { type, stream, flags, aux, payload } = frame;
    const { length } = payload;
    const detail =
      type === 7 ? ` ${new DataView(payload.buffer, payload.byteOffset).getUint32(0, true)}` : "";
    this.trace.push(
      `${this.now.toFixed(2)} ${end === 0 ? "->" : "<-"} ${names[type]} ${stream.toString(16)}` +
        ` flags ${flags.toString(16)} aux ${aux} ${length} bytes${detail}`,
    );
  }
}

/** Run the world of `seed`. Rejects, with the seed and what was going on, if anything in it is wrong. */
export async function runSeed(seed: number, tracing = false): Promise<void> {
  const world = new World(seed, tracing);
  try {
    await world.run();
  } catch (error) {
    throw new Error(
      `seed ${seed}: ${error instanceof Error ? error.message : String(error)}\n` +
        `(again, with its frames: npm run fuzz:session -w packages/core -- --seed ${seed} --trace)\n${world.describe()}`,
      { cause: error },
    );
  }
}
