import type * as Rx from "rxjs";
import { createRequire } from "node:module";
import { setTimeout } from "node:timers/promises";
import {
  RpcError,
  Status,
  type Channel,
  type Implementation,
  type ServerContext,
  type ServiceDefinition,
  type ServiceOptions,
} from "@sluice/node";
import {
  StreamingInputCallRequest,
  StreamingOutputCallRequest,
  type EchoStatus,
  SimpleRequest,
  type SimpleResponse,
} from "./gen/grpc/testing/messages.js";
import { TestServiceDefinition } from "./gen/grpc/testing/test.js";
import {
  LenderDefinition,
  ProbeDefinition,
  type Chunk,
  type HoldRequest,
} from "./gen/sluice/testing/probe.js";
import { pattern, payload } from "./payload.js";
import { descriptors, residentBytes } from "./processes.js";

/** rxjs takes as long to load as all else together, and few of the many processes need it. */
const rxjs = () => createRequire(import.meta.url)("rxjs") as typeof Rx;

/** What can be added to: a server, or a channel that takes calls. */
export interface Registry {
  add<S extends ServiceDefinition>(
    definition: S,
    implementation: Implementation<S>,
    options?: ServiceOptions,
  ): unknown;
}

const { unimplementedCall: _, ...implementedMethods } = TestServiceDefinition.methods;

/** gRPC's test service as servers have it: without the method that the client knows and no server implements. */
const ImplementedTestService = { ...TestServiceDefinition, methods: implementedMethods };

const ECHO_INITIAL = "x-grpc-test-echo-initial";
const ECHO_TRAILING = "x-grpc-test-echo-trailing-bin";

/** What gRPC's interoperability tests ask of every method: return the metadata under two names. */
function echoMetadata(context: ServerContext): void {
  const initial = context.metadata.get(ECHO_INITIAL);
  if (initial !== undefined) context.setHeader(ECHO_INITIAL, initial);
  const trailing = context.metadata.get(ECHO_TRAILING);
  if (trailing !== undefined) context.setTrailer(ECHO_TRAILING, trailing);
}

/** The largest payload that these services make; hostile requests ask for more. */
const MAX_PAYLOAD_BYTES = 8 << 20;

function checkSize(size: number): number {
  if (size >= 0 && size <= MAX_PAYLOAD_BYTES) return size;
  throw new RpcError(
    Status.INVALID_ARGUMENT,
    `a payload of ${size} bytes: at most ${MAX_PAYLOAD_BYTES} are made`,
  );
}

function throwStatus(status: EchoStatus | undefined): void {
  if (status !== undefined && status.code !== Status.OK) {
    throw new RpcError(status.code as Status, status.message);
  }
}

function answer(request: SimpleRequest, context: ServerContext): SimpleResponse {
  echoMetadata(context);
  throwStatus(request.responseStatus);
  return {
    payload: payload(checkSize(request.responseSize)),
    username: "",
    oauthScope: "",
    serverId: "",
    grpclbRouteType: 0,
    hostname: "",
  };
}

async function* answers(request: StreamingOutputCallRequest, { signal }: ServerContext) {
  throwStatus(request.responseStatus);
  for (const { size, intervalUs } of request.responseParameters) {
    if (intervalUs > 0) await setTimeout(intervalUs / 1000, undefined, { signal });
    yield { payload: payload(checkSize(size)) };
  }
}

/** gRPC's interoperability test service. */
export const testService: Implementation<typeof ImplementedTestService> = {
  emptyCall(_request, context) {
    echoMetadata(context);
    return {};
  },
  unaryCall: answer,
  cacheableUnaryCall: answer,
  async *streamingOutputCall(request, context) {
    echoMetadata(context);
    yield* answers(request, context);
  },
  async streamingInputCall(requests, context) {
    echoMetadata(context);
    let aggregatedPayloadSize = 0;
    for await (const request of requests) aggregatedPayloadSize += request.payload?.body.length ?? 0;
    return { aggregatedPayloadSize };
  },
  async *fullDuplexCall(requests, context) {
    echoMetadata(context);
    for await (const request of requests) yield* answers(request, context);
  },
  async *halfDuplexCall(requests, context) {
    echoMetadata(context);
    const kept: StreamingOutputCallRequest[] = [];
    for await (const request of requests) kept.push(request);
    for (const request of kept) yield* answers(request, context);
  },
};

/** Counts the calls that run, and tells when none does. */
class Running {
  started = 0;
  count = 0;
  #settled: (() => void)[] = [];

  begin(): void {
    this.started++;
    this.count++;
  }

  end(): void {
    if (--this.count > 0) return;
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  settled(): Promise<void> {
    return this.count === 0 ? Promise.resolve() : new Promise((resolve) => this.#settled.push(resolve));
  }
}

/** The probe of one process, as that process itself uses it. */
export interface Probe {
  /** How many of its calls are running. */
  readonly running: number;
  /** Let go of the Hold or Consume that has this key. */
  release(key: string): void;
  /** Resolves when no call is running. */
  settled(): Promise<void>;
}

/** `sluice.testing.Probe`. `close` begins to close the server. */
function createProbe(close: (options: { timeoutMs?: number }) => void): {
  service: Implementation<typeof ProbeDefinition>;
  probe: Probe;
} {
  const running = new Running();
  const held = new Map<string, () => void>();
  let produced = 0;
  let unsubscribed = 0;

  async function released(key: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const abort = () => {
        held.delete(key);
        reject(signal.reason);
      };
      signal.addEventListener("abort", abort, { once: true });
      held.set(key, () => {
        held.delete(key);
        signal.removeEventListener("abort", abort);
        resolve();
      });
    });
  }

  function release(key: string): void {
    const resolve = held.get(key);
    if (resolve === undefined) throw new RpcError(Status.NOT_FOUND, `nothing is held by "${key}"`);
    resolve();
  }

  async function hold({ key }: HoldRequest, context: ServerContext) {
    running.begin();
    try {
      const ended = released(key, context.signal);
      context.sendHeader();
      await ended;
      return { deadline: context.deadline?.getTime() ?? 0 };
    } finally {
      running.end();
    }
  }

  const service: Implementation<typeof ProbeDefinition> = {
    report() {
      globalThis.gc?.();
      return {
        pid: process.pid,
        descriptors: descriptors(process.pid),
        residentBytes: BigInt(residentBytes(process.pid)),
        running: running.count,
        started: BigInt(running.started),
        produced: BigInt(produced),
        unsubscribed,
      };
    },
    async settle() {
      await running.settled();
      return {};
    },
    hold,
    async release(requests, context) {
      context.sendHeader();
      for await (const { key } of requests) release(key);
      return {};
    },
    relay(request, context) {
      return context.channel
        .client(ProbeDefinition)
        .hold(request, { parent: context, onHeader: () => context.sendHeader() });
    },
    async callBack(_request, context) {
      return callEachKind(context.channel, context);
    },
    echo: (chunk) => chunk,
    async *produce({ count, bytes }, context) {
      running.begin();
      try {
        context.sendHeader();
        const body = payload(checkSize(bytes)).body;
        for (let index = 0; count === 0 || index < count; index++) {
          produced++;
          yield { index, body, hold: "" };
        }
      } finally {
        running.end();
      }
    },
    observe: ({ count, bytes }) =>
      new (rxjs().Observable)<Chunk>((subscriber) => {
        running.begin();
        const body = payload(checkSize(bytes)).body;
        let index = 0;
        let immediate: NodeJS.Immediate;
        const next = () => {
          produced++;
          subscriber.next({ index: index++, body, hold: "" });
          if (index === count) subscriber.complete();
          else immediate = setImmediate(next);
        };
        immediate = setImmediate(next);
        return () => {
          if (count === 0 || index < count) unsubscribed++;
          clearImmediate(immediate);
          running.end();
        };
      }),
    async consume(chunks, context) {
      running.begin();
      try {
        let count = 0;
        let bytes = 0;
        for await (const { body, hold } of chunks) {
          count++;
          bytes += body.length;
          if (hold === "") continue;
          const ended = released(hold, context.signal);
          context.sendHeader();
          await ended;
        }
        return { count, bytes: BigInt(bytes) };
      } finally {
        running.end();
      }
    },
    async *exchange(requests, context) {
      running.begin();
      try {
        let index = 0;
        for await (const { count, bytes } of requests) {
          if (index === 0) context.sendHeader();
          for (let i = 0; i < count; i++)
            yield { index: index++, body: pattern(checkSize(bytes), index), hold: "" };
        }
      } finally {
        running.end();
      }
    },
    fail({ code, message, details, trailers }, context) {
      for (const [name, value] of trailers) context.setTrailer(name, value);
      throw new RpcError(code as Status, message, { details });
    },
    drain({ timeoutMs }) {
      close(timeoutMs > 0 ? { timeoutMs } : {});
      return {};
    },
  };
  const probe: Probe = {
    get running() {
      return running.count;
    },
    release,
    settled: () => running.settled(),
  };
  return { service, probe };
}

function createLender(): Implementation<typeof LenderDefinition> {
  let last: Uint8Array = new Uint8Array(0);
  return {
    async return(request) {
      last = request.body;
      await setTimeout(0); // the memory of others is used meanwhile
      return request;
    },
    kept: () => ({ bytes: last.length }),
    async examine(requests) {
      let count = 0;
      let wrong = 0;
      let ended = 0;
      let before: Uint8Array | undefined = undefined;
      for await (const { index, body } of requests) {
        if (before !== undefined && before.length === 0) ended++;
        if (Buffer.compare(body, pattern(body.length, index)) !== 0) wrong++;
        before = body;
        count++;
      }
      return { count, wrong, ended };
    },
  };
}

/** Add gRPC's test service, the lender to a server (which Drain closes by `close`) or to a channel. */
export function addServices(
  registry: Registry,
  close: (options: { timeoutMs?: number }) => void = () => {},
): Probe {
  const { service, probe } = createProbe(close);
  registry.add(ImplementedTestService, testService);
  registry.add(ProbeDefinition, service);
  registry.add(LenderDefinition, createLender(), { lendBytes: true });
  return probe;
}

/** Make a call of every kind to gRPC's test service at the other end of `channel`. Returns the bytes that came back. */
export async function callEachKind(channel: Channel, parent?: ServerContext) {
  const options = parent === undefined ? {} : { parent };
  const client = channel.client(TestServiceDefinition);
  const request = StreamingOutputCallRequest.fromPartial({
    responseParameters: [{ size: 100 }, { size: 23 }],
  });
  const { payload: body } = await client.unaryCall(
    SimpleRequest.fromPartial({ responseSize: 314_159, payload: payload(271_828) }),
    options,
  );
  const { aggregatedPayloadSize } = await client.streamingInputCall(
    [27182, 8, 1828, 45904].map((size) => StreamingInputCallRequest.fromPartial({ payload: payload(size) })),
    options,
  );
  let serverStreaming = 0;
  for await (const response of client.streamingOutputCall(request, options)) {
    serverStreaming += response.payload!.body.length;
  }
  let bidirectional = 0;
  for await (const response of client.fullDuplexCall([request, request], options)) {
    bidirectional += response.payload!.body.length;
  }
  return { unary: body!.body.length, clientStreaming: aggregatedPayloadSize, serverStreaming, bidirectional };
}
