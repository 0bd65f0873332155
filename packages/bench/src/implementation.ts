/**
 * What the benchmark needs of an RPC implementation, or of anything else that answers with what it was sent. One file in
 * `implementations/` each, and an entry in its `index.ts`; everything else (load, processes, statistics, reports) is common to all.
 */
import { fileURLToPath } from "node:url";
import type { Timing } from "./load.js";
import type { CallOption, Scenario } from "./scenarios.js";
import type { Slice } from "./statistics.js";

export interface Implementation {
  /**
   * Start the server of `transport`, in its own process unless the transport says otherwise. Whatever it creates in the
   * file system is put in `directory`, which exists, is empty, and is removed by the caller.
   */
  serve(transport: string, directory: string): Promise<BenchServer>;
  /** Connect to the server at `address`; a client that brings its own server gets its directory instead. */
  connect(transport: string, address: string): Promise<BenchClient>;
}

/** What a client runs that brings its server; arguments: implementation, transport, directory. */
export const SERVER_SCRIPT = fileURLToPath(new URL("./server-process.js", import.meta.url));

/** Where a server runs: in a process that the benchmark starts, or wherever the client puts it (its child, itself). */
export type ServerPlace = "own process" | "by client";

export interface BenchServer {
  /** What `connect` takes. */
  readonly address: string;
  close(): Promise<void>;
}

/** What a call gives: a message with the same body. */
export interface Echoed {
  readonly body: Uint8Array;
}

/** One call. */
export type EchoCall = (body: Uint8Array) => Promise<Echoed>;

/** Told of each message that came back: its time of flight, and the time now, in milliseconds. Returns whether to go on. */
export type OnEcho = (latencyMs: number, nowMs: number) => boolean;

export interface BenchClient {
  /** The call to repeat, made with `option` each time. Any number may be in flight. */
  unary(option?: CallOption): EchoCall;
  /** The same call where it blocks, for clients that have no other: `unary` is made of it then. */
  readonly unarySync?: (body: Uint8Array) => Echoed;
  /** A call that is answered only when `release` is called, over any connection. */
  readonly hold?: EchoCall;
  readonly release?: EchoCall;
  /**
   * Ask for `count` messages with bodies of `bytes` bytes, made by `streamBodies`. `onMessage` is given each in order and
   * returns whether to go on; the stream is cancelled when it says no. Resolves when the stream has ended.
   */
  readonly serverStreaming?: (
    bytes: number,
    count: number,
    onMessage: (body: Uint8Array) => boolean,
  ) => Promise<void>;
  /** Send `count` messages with this body in one stream; resolves to how many the server counted. */
  readonly clientStreaming?: (body: Uint8Array, count: number) => Promise<number>;
  /** As `echo`, with messages in one stream, each of which the server sends back; `onBody` is given what came, before. */
  readonly bidiStreaming?: (
    body: Uint8Array,
    inFlight: number,
    onBody: (body: Uint8Array) => void,
    onEcho: OnEcho,
  ) => Promise<void>;
  /**
   * Raw exchange, for what has no calls: keep `inFlight` frames with this body under way. Resolves when, after `onEcho` has
   * said no, the last one is back.
   */
  readonly echo?: (body: Uint8Array, inFlight: number, onEcho: OnEcho) => Promise<void>;
  /** For what is no part of this program: times one slice and compares what comes back by itself. */
  readonly timeSlice?: (scenario: Scenario, timing: Timing) => Promise<Slice>;
  close(): Promise<void>;
}

const DISTINCT_BODIES = 256;

/** The bodies that a stream repeats: all alike but for the first byte, which tells their order. */
export function streamBodies(bytes: number): Uint8Array[] {
  return Array.from({ length: DISTINCT_BODIES }, (_, index) => new Uint8Array(bytes).fill(index, 0, 1));
}
