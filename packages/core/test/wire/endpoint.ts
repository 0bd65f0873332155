import {
  Metadata,
  RpcError,
  Server,
  Status,
  connectWith,
  type Channel,
  type EndpointOptions,
  type Implementation,
  type Limits,
  type MetadataInit,
  type ServerContext,
} from "@sluice/core";
import { ManualClock, ScriptedConnection, ScriptedTransport, turn } from "./carrier.js";
import type { Detail, MetadataEntries, Side, StatusName } from "./frame.js";
import { Vectors, type Kind } from "./service.js";

/** How a program makes a call. Messages are in hexadecimal. */
export interface Making {
  readonly call: Kind;
  readonly request?: string;
  readonly metadata?: MetadataEntries;
  readonly timeoutMs?: number;
  /** Take no response before a `take`. */
  readonly slow?: true;
}

/** What a program does with a call. */
export type Action =
  | { readonly send: string }
  | { readonly halfClose: true }
  | { readonly cancel: true }
  | { readonly take: number }
  | { readonly header: MetadataEntries }
  | { readonly trailer: MetadataEntries }
  | { readonly respond: string }
  | { readonly end: true }
  | { readonly fail: StatusName; readonly text?: string; readonly details?: readonly Detail[] };

/** What a program sees of a call. */
export type Sight =
  | { readonly call: Kind; readonly metadata?: MetadataEntries }
  | { readonly request: string }
  | { readonly halfClose: true }
  | { readonly cancelled: StatusName }
  | { readonly header: MetadataEntries }
  | { readonly response: string }
  | {
      readonly status: StatusName;
      readonly text?: string;
      readonly details?: readonly Detail[];
      readonly trailer?: MetadataEntries;
      readonly mayHaveRun?: boolean;
    };

/** Messages that the script gives one by one. */
class Messages implements AsyncIterable<string> {
  #messages: string[] = [];
  #ended = false;
  #error: Error | undefined = undefined;
  #wake: () => void = () => {};

  push(message: string): void {
    this.#messages.push(message);
    this.#wake();
  }

  end(error?: Error): void {
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for (;;) {
      if (this.#messages.length > 0) yield this.#messages.shift()!;
      else if (this.#error !== undefined) throw this.#error;
      else if (this.#ended) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** One end of a call, whose program the script is. */
export interface Call {
  /** What the program has seen and the script has not asked for. */
  readonly seen: Sight[];
  readonly output: Messages;
  readonly cancel: AbortController;
  context?: ServerContext;
  /** Where responses are taken from, if by hand. */
  responses?: AsyncIterator<string>;
  /** What ends a handler that gives one response. */
  settle?: { resolve(response: string): void; reject(error: unknown): void };
}

/** The reference implementation at one end of a scripted connection. */
export class Endpoint {
  readonly connection: ScriptedConnection;
  readonly clock = new ManualClock();
  /** Calls that the peer has made and the script has not asked for. */
  readonly accepted: Call[] = [];
  #channel: Channel | undefined = undefined;
  #server: Server | undefined = undefined;

  private constructor(maxFrameBytes: number) {
    this.connection = new ScriptedConnection({ maxFrameBytes });
  }

  /** An endpoint that has sent its HELLO and waits for the peer's; `ready` is resolved when that has come. */
  static async start(
    side: Side,
    limits: Partial<Limits> = {},
    options: EndpointOptions = {},
    maxFrameBytes = 65 * 1024,
  ): Promise<{ endpoint: Endpoint; ready: Promise<unknown> }> {
    const endpoint = new Endpoint(maxFrameBytes);
    const { clock } = endpoint;
    const transport = new ScriptedTransport(endpoint.connection);
    const implementation = endpoint.#implementation();
    let ready: Promise<unknown>;
    if (side === "connecting") {
      ready = connectWith([transport], "scripted:", { limits, ...options }, clock).then((channel) => {
        endpoint.#channel = channel.add(Vectors, implementation);
      });
    } else {
      const server = new Server([transport], { limits, ...options }, clock);
      endpoint.#server = server.add(Vectors, implementation);
      ready = new Promise<void>((resolve) =>
        server.on("connection", (channel) => {
          endpoint.#channel = channel;
          resolve();
        }),
      );
      await server.listen("scripted:");
      transport.arrive();
    }
    await turn();
    return { endpoint, ready };
  }

  /** Close the channel, or the server. */
  async close(): Promise<void> {
    void (this.#server ?? this.#channel!).close();
    await turn();
  }

  /** Let the program act on a call. */
  async act(call: Call, action: Action): Promise<void> {
    if ("send" in action) call.output.push(action.send);
    else if ("halfClose" in action || "end" in action) call.output.end();
    else if ("cancel" in action) call.cancel.abort(new Error("by the script"));
    else if ("respond" in action) call.settle!.resolve(action.respond);
    else if ("take" in action) for (let i = 0; i < action.take; i++) void this.#takeOne(call);
    else if ("fail" in action) {
      const details = action.details?.map(({ typeUrl, value }) => ({
        typeUrl,
        value: Buffer.from(value, "hex"),
      }));
      const error = new RpcError(Status[action.fail], action.text ?? "", details && { details });
      if (call.settle === undefined) call.output.end(error);
      else call.settle.reject(error);
    } else {
      for (const [name, value] of metadataOf("header" in action ? action.header : action.trailer)) {
        if ("header" in action) call.context!.setHeader(name, value);
        else call.context!.setTrailer(name, value);
      }
    }
    await turn();
  }

  // The calling side.

  /** Let the program make a call. */
  async make(action: Making): Promise<Call> {
    const output = new Messages();
    const call: Call = { seen: [], output, cancel: new AbortController() };
    let trailer: MetadataEntries = [];
    const options = {
      ...(action.metadata && { metadata: metadataOf(action.metadata) }),
      ...(action.timeoutMs !== undefined && { timeoutMs: action.timeoutMs }),
      signal: call.cancel.signal,
      onHeader: (header: Metadata) => {
        if (header.size > 0) call.seen.push({ header: entriesOf(header) });
      },
      onTrailer: (metadata: Metadata) => void (trailer = entriesOf(metadata)),
    };
    const end = (error?: unknown): void => void call.seen.push(statusOf(error, trailer));
    const client = this.#channel!.client(Vectors);
    const kind = action.call;
    const streaming = Vectors.methods[kind].requestStream;
    const request = action.request ?? "";
    if (streaming && action.request !== undefined) output.push(action.request);
    if (kind === "unary" || kind === "clientStream") {
      const response =
        kind === "unary" ? client.unary(request, options) : client.clientStream(output, options);
      response.then((message) => {
        call.seen.push({ response: message });
        end();
      }, end);
    } else {
      const responses =
        kind === "serverStream" ? client.serverStream(request, options) : client.bidi(output, options);
      if (action.slow) call.responses = responses[Symbol.asyncIterator]();
      else void this.#takeAll(call, responses, (response) => ({ response }), end);
    }
    await turn();
    return call;
  }

  async #takeAll(
    call: Call,
    messages: AsyncIterable<string>,
    sight: (message: string) => Sight,
    end: (error?: unknown) => void,
  ): Promise<void> {
    try {
      for await (const message of messages) call.seen.push(sight(message));
    } catch (error) {
      return end(error);
    }
    end();
  }

  async #takeOne(call: Call): Promise<void> {
    const result = await call.responses!.next();
    if (result.done !== true) call.seen.push({ response: result.value });
  }

  // The serving side.

  #implementation(): Implementation<typeof Vectors> {
    const one = (kind: Kind) => (request: unknown, context: ServerContext) =>
      new Promise<string>((resolve, reject) => {
        this.#accept(kind, request, context).settle = { resolve, reject };
      });
    const many = (kind: Kind) => (request: unknown, context: ServerContext) =>
      this.#accept(kind, request, context).output;
    return {
      unary: one("unary"),
      clientStream: one("clientStream"),
      serverStream: many("serverStream"),
      bidi: many("bidi"),
    };
  }

  #accept(kind: Kind, request: unknown, context: ServerContext): Call {
    const call: Call = { seen: [], output: new Messages(), cancel: new AbortController(), context };
    this.accepted.push(call);
    call.seen.push({
      call: kind,
      ...(context.metadata.size > 0 && { metadata: entriesOf(context.metadata) }),
    });
    context.signal.addEventListener("abort", () => {
      call.seen.push({ cancelled: nameOf((context.signal.reason as RpcError).code) });
    });
    if (typeof request === "string") call.seen.push({ request });
    else {
      void this.#takeAll(
        call,
        request as AsyncIterable<string>,
        (message) => ({ request: message }),
        (error) => {
          if (error === undefined) call.seen.push({ halfClose: true });
        },
      );
    }
    return call;
  }
}

function statusOf(error: unknown, trailer: MetadataEntries): Sight {
  const trailers = trailer.length > 0 && { trailer };
  if (error === undefined) return { status: "OK", ...trailers };
  const { code, message, details, mayHaveRun } = error as RpcError;
  return {
    status: nameOf(code),
    ...(message !== "" && { text: message }),
    ...(details.length > 0 && {
      details: details.map(({ typeUrl, value }) => ({ typeUrl, value: Buffer.from(value).toString("hex") })),
    }),
    ...trailers,
    mayHaveRun,
  };
}

function nameOf(code: Status): StatusName {
  return (Object.keys(Status) as StatusName[]).find((name) => Status[name] === code)!;
}

function metadataOf(entries: MetadataEntries): Metadata {
  return new Metadata(
    entries.map(
      ([name, value]) => [name, name.endsWith("-bin") ? Buffer.from(value, "hex") : value] as const,
    ),
  );
}

function entriesOf(metadata: MetadataInit): MetadataEntries {
  return [...Metadata.from(metadata)].map(([name, value]) => [
    name,
    typeof value === "string" ? value : Buffer.from(value).toString("hex"),
  ]);
}
