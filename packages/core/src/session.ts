/**
 * A session runs many streams over one connection. It is pure: frames and a clock in, frames and callbacks out.
 * `docs/wire.md` is the protocol; this file is its only implementation in TypeScript.
 */
import { readU16, readU32, writeU16, writeU32 } from "./bytes.js";
import type { Clock, Timer } from "./clock.js";
import type { MessageCodec } from "./definition.js";
import { RpcError } from "./error.js";
import type { Limits } from "./limits.js";
import type { ReceivedBlock } from "./metadata-block.js";
import { Metadata } from "./metadata.js";
import { MessageReader, MessageWriter } from "./protobuf/index.js";
import { platform } from "./protobuf/platform.js";
import { recycle, type Range } from "./protobuf/writer.js";
import { Status } from "./status.js";
import { Mark, OK, OutgoingMessage, PartialMessage, type Ending, type Reset, type Stream } from "./stream.js";
import type { TimerWheel } from "./timer-wheel.js";
import { FRAME_HEADER_BYTES, type Connection, type ConnectionHandler, type LargeFrame } from "./transport.js";
import {
  copyOf,
  decodeDetails,
  decodeText,
  encodeDetails,
  encodeText,
  Flag,
  FrameType,
  fullCount,
  generationOf,
  HELLO_PAYLOAD_BYTES,
  HelloTrait,
  MAX_METHOD_NAME_BYTES,
  MAX_METHODS,
  MAX_TEXT_BYTES,
  MAX_WINDOW_BYTES,
  nextGeneration,
  ProtocolError,
  readAscii,
  readHello,
  readMetadata,
  slotOf,
  streamId,
  WIRE_VERSION,
  writeAscii,
  writeHeader,
  writeHello,
  writeMetadata,
  type Hello,
} from "./wire.js";

/** When to ask a silent peer whether it lives, and how long to wait for its answer, in milliseconds. */
export interface Keepalive {
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** What a session tells its owner (a channel). Called from the event loop, never from inside a session's method. */
export interface SessionOwner {
  /** Both HELLOs have been exchanged: calls may be made. */
  onReady(session: Session): void;
  /** The peer takes no new calls on this session; those in flight go on. */
  onDraining(session: Session): void;
  /** The session is over; every stream has been told. Once. */
  onClosed(session: Session, error: Error | undefined): void;
}

/** Answers the calls that arrive. */
export interface Acceptor {
  /** What serves `path` on `session` (looked up once per method and session); undefined if nothing does. */
  find(session: Session, path: string): unknown;
  /**
   * A call of `path`, for which `find` gave `target`, arrived. Returns its stream, to which the session then delivers.
   * `begin` is called on it by the session when it is in place. `metadata` is for `Metadata.fromBlock`: most handlers never
   * look at it.
   */
  accept(
    session: Session,
    target: unknown,
    path: string,
    metadata: ReceivedBlock | undefined,
  ): AcceptedStream;
}

/** The stream of a call that arrived; `begin` starts it, once the session knows it. */
export interface AcceptedStream extends Stream {
  begin(): void;
}

export interface SessionOptions {
  readonly connection: Connection;
  /** Whether this end made the connection. */
  readonly connecting: boolean;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly acceptor: Acceptor;
  readonly owner: SessionOwner;
  readonly keepalive: Keepalive | undefined;
  /** Whether this end answers PING also while it has no call in flight. Default true. */
  readonly answersPing?: boolean;
}

/** What a session holds. */
export interface SessionUsage {
  readonly localStreams: number;
  readonly remoteStreams: number;
  readonly handlers: number;
  /** Cost of messages received whole and not consumed: what the peer's connection window lacks. */
  readonly unreturnedBytes: number;
  /** Messages received in part, and what they take of the reassembly budget. */
  readonly partialMessages: number;
  readonly partialBytes: number;
  /** What messages sent in part take of the peer's. */
  readonly sentPartialBytes: number;
}

const enum State {
  Handshaking,
  Ready,
  /** A GOAWAY was sent or has arrived: no new calls from this end. */
  Draining,
  Closed,
}

/** What became of the attempt to send a stream's next frame. */
const enum Sent {
  /** A frame was committed and the stream has more to send. */
  More,
  /** Nothing is left to send. */
  All,
  /** The connection has no room; it will call `onWritable`. */
  NoRoom,
  /** The stream waits for credit, or for its turn to send a large message. */
  Waiting,
}

/** Printable ASCII (docs/wire.md). */
const METHOD_NAME = /^[\x21-\x7e]+$/;
/** Room asked for when the size of a message is not known yet. */
const GUESSED_MESSAGE_BYTES = 512;
/** Fragments shorter than this are not worth a frame, unless they are the last. */
const LEAST_FRAGMENT_BYTES = 4096;
/** How much of a message in fragments is sent before it is the turn of the next. */
const TURN_BYTES = 1024 * 1024;
/** An OPEN without its metadata and message: header, name, timeout, and the lengths of metadata and message. */
const OPEN_PARTS_BYTES = FRAME_HEADER_BYTES + 2 + MAX_METHOD_NAME_BYTES + 4 + 2 + 4;
/** An END without its text, details, metadata and message: header, and the lengths of all but the message. */
const END_PARTS_BYTES = FRAME_HEADER_BYTES + 2 + 2 + 2;
/** What is copied of a large frame to be looked at, beside its parts of up to 64 KiB: all else that precedes its message. */
const LARGE_HEAD_BYTES = 1024;
const LARGE_PART_BYTES = 64 << 10;
/** The longest status message while the peer has not said what it takes. */
const LEAST_TEXT_BYTES = 512;
/** Free writers: one for each nested encoding that there has been (a getter of a message that makes a call). */
const writers: MessageWriter[] = [];
/** Decoding never nests: no user code runs in it. */
const reader = new MessageReader();

/** What answers the end of a stream that this end has not ended. */
const RESET_ANSWER: Reset = { code: Status.CANCELLED, text: "", notRun: false };
const NO_BYTES = new Uint8Array(0);
const OWNED = { alias: true };
/** Any eight bytes will do: at most one PING is outstanding. */
const PING_PAYLOAD = new Uint8Array(8);

const NO_STREAMS: readonly (Stream | undefined)[] = [];

interface KnownMethod {
  readonly path: string;
  readonly target: unknown;
}

export class Session implements ConnectionHandler {
  readonly connection: Connection;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly connecting: boolean;
  readonly #acceptor: Acceptor;
  readonly #owner: SessionOwner;
  readonly #keepalive: Keepalive | undefined;
  readonly #answersPing: boolean;

  #state: State = State.Handshaking;
  /** What ended the session, once something has. */
  #error: Error | undefined = undefined;
  #peer: Hello | undefined = undefined;
  /** The largest frame that may be sent. */
  #maxFrameBytes = 0;
  /** The largest frame that may be sent while the connection has memory for large ones; 0 if it never has. */
  #maxLargeBytes = 0;
  /** The largest frame with a whole message: one that credit can always be had for at once. */
  #maxWholeBytes = 0;
  /** The largest metadata block that may be sent. */
  #maxMetadataBytes = 0;
  /** The longest status message that may be sent. */
  #maxTextBytes = LEAST_TEXT_BYTES;
  /** How many streams this end may have open. */
  #maxSlots = 0;

  // Streams by slot, and the last id that each slot had.
  #local: (Stream | undefined)[] = NO_STREAMS as (Stream | undefined)[];
  #localIds: number[] = [];
  /** The how many'th OPEN of the session that of each slot's stream is, counted from 1. */
  readonly #localOrdinals: number[] = [];
  #freeSlots: number[] = [];
  #localCount = 0;
  #opened = 0;
  #remote: (Stream | undefined)[] = NO_STREAMS as (Stream | undefined)[];
  #remoteIds: number[] = [];
  #remoteCount = 0;
  #accepted = 0;
  /** Calls that wait for a slot, first come first served: those of `#waiting[#waitingHead..]` that still do. */
  #waiting: Stream[] = [];
  #waitingHead = 0;
  #waitingCount = 0;

  // Method numbers: those that this end assigned, and those that the peer did.
  readonly #localMethods = new Map<string, number>();
  readonly #remoteMethods: KnownMethod[] = [];

  // Credit of the connection.
  #sendWindow = 0;
  #receiveWindow: number;
  #creditOwed = 0;
  /** Streams that wait for credit of the connection. One that ends leaves: the peer may never give that credit. */
  readonly #starved = new Set<Stream>();

  // Streams with frames to send, in turn.
  #sendHead: Stream | undefined = undefined;
  #sendTail: Stream | undefined = undefined;
  /** Streams with control frames to send, in turn: a RESET, or else what is due of CREDIT. */
  readonly #control = new Map<Stream, Reset | undefined>();
  /**
   * Messages too long for one frame: the sum of the lengths of those that have begun, against the peer's reassembly budget; the one
   * whose turn it is, and up to where; and the streams of those that wait for theirs. No Set: each table that it outgrows
   * refers to the next, so those that have become old keep what was in all later ones, until the next full collection.
   */
  #outPartial = 0;
  #outFirst: OutgoingMessage | undefined = undefined;
  #outTurnEnd = 0;
  #outWaiting: Stream[] = [];

  /** Messages received in part: how many, and the sum of their whole lengths. */
  #partialMessages = 0;
  #partialBytes = 0;

  // The connection's own control output.
  #helloPending = true;
  #goawayPending = false;
  #goawaySent = false;
  #goawayCode: Status = Status.OK;
  #goawayText = "";
  #pongPending: Uint8Array | undefined = undefined;
  #pingPending = false;
  #pingOutstanding = false;
  /** Of the OPENs sent, how many the peer accepted; known after its GOAWAY. */
  #peerAccepted = Infinity;

  /** A reservation of the connection is open: nothing else may be written now. */
  #encoding = false;
  #pumping = false;
  /** Something was to be written while a reservation was open. */
  #pumpDue = false;
  /** The large frame that is being looked at, until its message has been copied, or lent. */
  #large: LargeFrame | undefined = undefined;
  /** The size of what precedes the message that is being encoded, and the credit for its frame. */
  #headBytes = 0;
  #frameCredit = 0;
  #framesReceived = 0;
  #framesAtLastCheck = 0;
  #timer: Timer | undefined = undefined;
  #referenced = true;

  constructor(options: SessionOptions) {
    this.connection = options.connection;
    this.limits = options.limits;
    this.clock = options.clock;
    this.wheel = options.wheel;
    this.connecting = options.connecting;
    this.#acceptor = options.acceptor;
    this.#owner = options.owner;
    this.#keepalive = options.keepalive;
    this.#answersPing = options.answersPing ?? true;
    this.#receiveWindow = options.limits.connectionWindowBytes;
  }

  /** Start the connection and say HELLO. */
  start(): void {
    this.#setTimer(() => {
      const error = new RpcError(
        Status.UNAVAILABLE,
        `the peer at ${this.connection.peer.address} said no HELLO within ${this.limits.handshakeTimeoutMs} ms`,
      );
      this.destroy(error);
    }, this.limits.handshakeTimeoutMs);
    this.connection.start(this);
    this.#pump();
  }

  /** Whether the connection, and what the session waits for, keep the process alive (they do at first). */
  setRef(on: boolean): void {
    this.#referenced = on;
    for (const one of [this.connection, this.#timer]) {
      if (on) one?.ref();
      else one?.unref();
    }
  }

  #setTimer(callback: () => void, delayMs: number): void {
    this.#timer = this.clock.setTimer(callback, delayMs);
    if (!this.#referenced) this.#timer.unref();
  }

  /** Objects of calls that are over, for others of this end, and of the peer (`Stream.onReleased`). */
  readonly spareCalls: Stream[] = [];
  readonly spareServerCalls: Stream[] = [];

  /** Handlers that have not settled: their owner counts them here, to refuse calls when a peer makes and cancels many. */
  handlers = 0;

  /** Whether calls can be made now. */
  get ready(): boolean {
    return this.#state === State.Ready;
  }

  get closed(): boolean {
    return this.#state === State.Closed;
  }

  /** Calls in flight that this end made, and those that wait for a slot. */
  get localStreams(): number {
    return this.#localCount + this.#waitingCount;
  }

  /** Calls that wait for a slot. */
  get waitingStreams(): number {
    return this.#waitingCount;
  }

  /** Calls in flight that the peer made. */
  get remoteStreams(): number {
    return this.#remoteCount;
  }

  /** What the session holds at the moment, for inspection: all zero once every call is over and consumed. */
  get usage(): SessionUsage {
    return {
      localStreams: this.localStreams,
      remoteStreams: this.#remoteCount,
      handlers: this.handlers,
      unreturnedBytes: this.limits.connectionWindowBytes - this.#receiveWindow - this.#creditOwed,
      partialMessages: this.#partialMessages,
      partialBytes: this.#partialBytes,
      sentPartialBytes: this.#outPartial,
    };
  }

  // ------------------------------------------------------------------------------------------------ Sending

  /**
   * Begin a call: `stream.opening` says what of. With `codec`, `message` is its first message; with `last` this end
   * sends nothing after it. Returns whether all of it has been sent; `onSendable` follows if not.
   * Throws, with nothing sent and the stream unused, what the codec throws, or RESOURCE_EXHAUSTED for what is too large.
   */
  open(stream: Stream, codec: MessageCodec<unknown> | undefined, message: unknown, last: boolean): boolean {
    const opening = stream.opening!;
    if (opening.metadata !== undefined) this.#checkMetadata(opening.metadata.length, "the call's metadata");
    if (!this.#localMethods.has(opening.path)) this.#checkMethod(opening.path);
    if (last) stream.mark(Mark.LastPending);
    if (codec !== undefined && (this.#encoding || this.#sendHead !== undefined || !this.#hasSlot)) {
      this.#encodeAside(stream, codec, message);
      codec = undefined;
    }
    // Encoding runs user code (getters), which may have taken the slot, or ended the session.
    if (this.#state !== State.Ready) {
      throw new RpcError(Status.UNAVAILABLE, "the connection is closing");
    }
    if (!this.#hasSlot) {
      this.#waiting.push(stream);
      this.#waitingCount++;
      stream.mark(Mark.WaitsForSlot);
      return false;
    }
    this.#takeSlot(stream);
    try {
      return this.#sendNow(stream, codec, message);
    } catch (error) {
      // Unless encoding has run user code that ended the stream, with which the slot may be another's.
      if (stream.id !== 0) this.#returnSlot(stream);
      throw error;
    }
  }

  /**
   * Send a message on an open stream. Returns whether the stream can take another at once; `onSendable` follows if not,
   * and until then `send` must not be called. Throws as `open`; the stream is as before then.
   */
  send(stream: Stream, codec: MessageCodec<unknown>, message: unknown): boolean {
    if (this.#encoding || stream.is(Mark.SendQueued) || stream.id === 0 || this.#control.size > 0) {
      this.#encodeAside(stream, codec, message);
      // What it waited for may be over: encoding runs user code.
      if (this.#encoding || stream.is(Mark.SendQueued) || stream.id === 0) {
        if (stream.id !== 0) this.#enqueue(stream);
        return false;
      }
      return this.#sendNow(stream, undefined, undefined);
    }
    return this.#sendNow(stream, codec, message);
  }

  /** The opener sends no more; what is pending goes first. */
  halfClose(stream: Stream): void {
    if (stream.is(Mark.SentEnd | Mark.LastPending)) return;
    stream.mark(Mark.LastPending);
    if (stream.id !== 0 && !stream.is(Mark.SendQueued)) this.#sendNow(stream, undefined, undefined);
  }

  /**
   * The acceptor ends the stream, with a last message if `codec` is given; what is pending goes first. Throws as `send`,
   * with the stream as before.
   */
  end(stream: Stream, ending: Ending, codec?: MessageCodec<unknown>, message?: unknown): void {
    if (stream.is(Mark.SentEnd) || stream.ending !== undefined || this.#state === State.Closed) return;
    if (ending.trailers !== undefined || ending.details.length > 0) this.#checkEnding(ending);
    if (codec !== undefined && (this.#encoding || stream.is(Mark.SendQueued))) {
      this.#encodeAside(stream, codec, message);
      codec = undefined;
    }
    stream.ending = ending;
    if (!stream.is(Mark.SendQueued)) {
      try {
        this.#sendNow(stream, codec, message);
      } catch (error) {
        stream.ending = undefined;
        throw error;
      }
    }
    this.#forgetDeadline(stream);
    this.#dropInput(stream);
  }

  /** Send the acceptor's headers, before any message. Throws RESOURCE_EXHAUSTED if they are too large. */
  sendHeaders(stream: Stream, metadata: Metadata): void {
    this.#checkMetadata(metadata.block.length, "the response's headers");
    stream.headersPending = metadata.block;
    if (this.#encoding || stream.is(Mark.SendQueued) || !this.#writeHeaders(stream)) this.#enqueue(stream);
  }

  /**
   * End a stream early: everything pending is dropped. As the opener this cancels the call. Harmless when the stream is
   * over. `notRun`: say that the call certainly did not run.
   */
  reset(stream: Stream, code: Status, text: string, notRun = false): void {
    if (this.#state === State.Closed) return;
    if (stream.id === 0 || stream.opening !== undefined) {
      // The peer has not heard of it.
      this.#dropOutput(stream);
      this.#forgetDeadline(stream);
      stream.opening = undefined;
      stream.mark(Mark.SentEnd | Mark.ReceivedEnd);
      this.#stopWaiting(stream);
      if (stream.id !== 0) this.#returnSlot(stream);
      return;
    }
    this.#dropInput(stream);
    if (stream.is(Mark.SentReset | Mark.ResetPending)) return;
    if (stream.is(Mark.SentEnd) && (stream.is(Mark.ReceivedEnd) || !stream.is(Mark.Opener))) return;
    this.#dropOutput(stream);
    this.#forgetDeadline(stream);
    this.#enqueueReset(stream, { code, text, notRun });
  }

  /** The consumer has taken a message that cost `cost`: give the peer credit for it. */
  consume(stream: Stream, cost: number): void {
    stream.unconsumed -= cost;
    this.#creditConnection(cost);
    this.#creditStream(stream);
  }

  // ------------------------------------------------------------------------------------------------ Ending

  /** Take no new calls and tell the peer so; when those in flight are over the connection closes. Idempotent. */
  drain(text = ""): void {
    if (this.#state === State.Closed) return;
    if (this.#state === State.Handshaking) {
      this.#fail(new RpcError(Status.UNAVAILABLE, text || "closed before the handshake was over"), false);
      return;
    }
    if (this.#goawayPending || this.#goawaySent) return;
    this.#state = State.Draining;
    this.#goawayPending = true;
    this.#goawayText = text;
    this.#pump();
    this.#refuseWaiting();
    this.#finishIfIdle();
  }

  /** End at once: every call fails with UNAVAILABLE. */
  destroy(error: Error): void {
    // A session that has ended may still be saying why to a peer that takes nothing.
    if (this.#state === State.Closed) this.connection.destroy(error);
    else this.#fail(error, false);
  }

  // ------------------------------------------------------------------------------------------------ Frames

  onFrame(memory: Uint8Array, start: number, end: number): void {
    if (this.#state === State.Closed) return;
    this.#framesReceived++;
    try {
      const payload = start + FRAME_HEADER_BYTES;
      const length = readU32(memory, start);
      const id = readU32(memory, start + 4);
      const type = memory[start + 8]!;
      const flags = memory[start + 9]!;
      const aux = readU16(memory, start + 10);
      if (this.#peer === undefined && type !== FrameType.HELLO) {
        throw new ProtocolError("the peer does not speak Sluice: its first frame is not a HELLO");
      }
      if (length !== end - payload) {
        throw new ProtocolError(
          `a frame says ${length} bytes of payload; ` +
            `it may have at most ${this.connection.traits.maxFrameBytes - FRAME_HEADER_BYTES}`,
        );
      }
      switch (type) {
        case FrameType.DATA:
          return this.#onData(memory, payload, end, id, flags);
        case FrameType.END:
          return this.#onEnd(memory, payload, end, id, flags, aux);
        case FrameType.OPEN:
          return this.#onOpen(memory, payload, end, id, flags, aux);
        case FrameType.CREDIT:
          return this.#onCredit(memory, payload, end, id);
        case FrameType.HEADERS:
          return this.#onHeaders(memory, payload, end, id, flags);
        case FrameType.RESET:
          return this.#onReset(memory, payload, end, id, flags, aux);
        case FrameType.PING:
        case FrameType.PONG:
          return this.#onPing(memory, payload, end, id, type);
        case FrameType.HELLO:
          return this.#onHello(memory, payload, end, id, aux);
        case FrameType.GOAWAY:
          return this.#onGoaway(memory, payload, end, id, aux);
        default:
          if ((flags & Flag.OPTIONAL) === 0) throw new ProtocolError(`frame of unknown type ${type}`);
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error, true);
    }
  }

  /** All but the message is looked at in a copy; the message is copied, too, unless its stream's user wants it lent. */
  onLargeFrame(frame: LargeFrame): void {
    if (this.#state === State.Closed) return frame.release();
    const { memory, start, end } = frame;
    const header = copyOf(memory, start, start + FRAME_HEADER_BYTES);
    const flags = header[9]!;
    let bytes = LARGE_HEAD_BYTES;
    for (const part of [Flag.TEXT, Flag.DETAILS, Flag.METADATA])
      if ((flags & part) !== 0) bytes += LARGE_PART_BYTES;
    const head = copyOf(memory, start, Math.min(start + bytes, end));
    head.set(header); // it may have changed meanwhile
    this.#large = frame;
    try {
      this.onFrame(head, 0, end - start);
    } finally {
      if (this.#large !== undefined) {
        this.#large = undefined;
        frame.release();
      }
    }
  }

  onWritable(): void {
    this.#pump();
  }

  onClose(error: Error | undefined): void {
    this.#timer?.cancel();
    if (this.#state !== State.Closed) {
      this.#state = State.Closed;
      this.#error = error;
      this.#failStreams();
    }
    this.#owner.onClosed(this, this.#error ?? error);
  }

  #onHello(memory: Uint8Array, start: number, end: number, id: number, version: number): void {
    if (this.#peer !== undefined || id !== 0) throw new ProtocolError("a second HELLO");
    const hello = readHello(memory, start, end, version);
    this.#peer = hello;
    const { traits, large } = this.connection;
    this.#maxFrameBytes = Math.min(hello.maxFrameBytes, traits.maxFrameBytes);
    if (large !== undefined && hello.maxFrameBytes > traits.maxFrameBytes) {
      this.#maxLargeBytes = Math.min(hello.maxFrameBytes, large.maxBytes);
    }
    this.#sendWindow = hello.connectionWindowBytes;
    this.#maxSlots = hello.maxConcurrentStreams;
    this.#maxWholeBytes = Math.min(
      this.#maxFrameBytes,
      hello.streamWindowBytes >>> 1,
      hello.connectionWindowBytes >>> 1,
    );
    // What cannot be cut into fragments must fit such a frame: in an OPEN the metadata, beside a method's name; in an END
    // the metadata and a status text.
    this.#maxTextBytes = Math.min(MAX_TEXT_BYTES, this.#maxWholeBytes >>> 2);
    this.#maxMetadataBytes = Math.min(
      hello.maxMetadataBytes,
      this.#maxWholeBytes - OPEN_PARTS_BYTES,
      this.#maxWholeBytes - END_PARTS_BYTES - this.#maxTextBytes,
    );
    if (!this.#helloPending) this.#becomeReady();
  }

  /** Both HELLOs are on their way: this end's, behind which all else goes, and the peer's. */
  #becomeReady(): void {
    this.#state = State.Ready;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#keepalive !== undefined) this.#watchPeer(this.#keepalive);
    this.#owner.onReady(this);
  }

  #onOpen(memory: Uint8Array, start: number, end: number, id: number, flags: number, aux: number): void {
    const slot = slotOf(id);
    const parity = this.connecting ? 0 : 1;
    if ((id & 1) !== parity || slot >= this.limits.maxConcurrentStreams) {
      throw new ProtocolError(
        `OPEN of stream ${id}: its slot ${slot} is not below the limit of ${this.limits.maxConcurrentStreams}, ` +
          `or its parity is not that of the side that opens it`,
      );
    }
    const lastId = this.#remoteIds[slot] ?? 0;
    if (this.#remote[slot] !== undefined || generationOf(id) !== nextGeneration(generationOf(lastId))) {
      throw new ProtocolError(`OPEN of stream ${id}: its slot is in use, or its generation is not the next`);
    }
    const cost = end - start + FRAME_HEADER_BYTES;
    this.#spend(cost);

    let at = start;
    if ((flags & Flag.NAMED) !== 0) {
      const nameEnd = at + 2 + (at + 2 <= end ? readU16(memory, at) : end);
      if (nameEnd > end || nameEnd - at - 2 > MAX_METHOD_NAME_BYTES) {
        throw new ProtocolError(
          `a method's name is longer than ${MAX_METHOD_NAME_BYTES} bytes, or than its frame`,
        );
      }
      if (aux !== this.#remoteMethods.length || aux >= MAX_METHODS) {
        throw new ProtocolError(
          `method number ${aux} is not the next (${this.#remoteMethods.length}), or not below ${MAX_METHODS}`,
        );
      }
      const path = readAscii(memory, at + 2, nameEnd);
      if (!METHOD_NAME.test(path)) {
        throw new ProtocolError("a method's name is empty, or has a character that is not printable ASCII");
      }
      this.#remoteMethods.push({ path, target: this.#acceptor.find(this, path) });
      at = nameEnd;
    }
    const method = this.#remoteMethods[aux];
    if (method === undefined)
      throw new ProtocolError(`OPEN with method number ${aux}, which was never named`);
    let expireAt: number | undefined = undefined;
    if ((flags & Flag.TIMEOUT) !== 0) {
      if (at + 4 > end) throw new ProtocolError("OPEN is too short for its timeout");
      expireAt = this.clock.now() + readU32(memory, at);
      at += 4;
    }
    let metadata: ReceivedBlock | undefined = undefined;
    if ((flags & Flag.METADATA) !== 0) {
      const blockEnd = this.#blockEnd(memory, at, end);
      metadata = readMetadata(memory, at + 2, blockEnd);
      at = blockEnd;
    }
    if ((flags & Flag.MESSAGE) === 0 && (at !== end || (flags & Flag.MORE) !== 0)) {
      throw new ProtocolError("OPEN is longer than its parts");
    }

    if (this.#remote === NO_STREAMS) this.#remote = [];
    const stream = this.#acceptor.accept(this, method.target, method.path, metadata);
    while (this.#remote.length <= slot) {
      this.#remote.push(undefined);
      this.#remoteIds.push(0);
    }
    this.#remote[slot] = stream;
    this.#remoteIds[slot] = id;
    this.#remoteCount++;
    stream.id = id | 0;
    stream.sendWindow = this.#peer!.streamWindowBytes;
    stream.receiveWindow = this.limits.streamWindowBytes - cost;
    if (stream.receiveWindow < 0) throw new ProtocolError(`stream ${id} was sent more than its window`);
    if (this.#goawayPending || this.#goawaySent) {
      this.#creditConnection(cost);
      this.reset(stream, Status.UNAVAILABLE, "the server is closing", true);
    } else {
      this.#accepted++;
      if (expireAt !== undefined) stream.expireAt(expireAt);
      stream.begin();
      if ((flags & Flag.MESSAGE) !== 0) this.#onFragment(stream, memory, at, end, flags, cost);
      else {
        this.#creditConnection(cost);
        this.#creditStream(stream);
      }
    }
    if ((flags & Flag.LAST) !== 0) this.#onLast(stream, id);
  }

  #onData(memory: Uint8Array, start: number, end: number, id: number, flags: number): void {
    const stream = this.#find(id, "DATA");
    const cost = end - start + FRAME_HEADER_BYTES;
    this.#spend(cost);
    stream.receiveWindow -= cost;
    // A message that has begun may exceed it, also one that was dropped here meanwhile.
    if (stream.receiveWindow < 0 && stream.incoming === undefined && !this.#isOver(stream)) {
      throw new ProtocolError(`stream ${id} was sent more than its window`);
    }
    if (stream.is(Mark.ReceivedEnd)) throw new ProtocolError(`DATA after the end of stream ${id}`);
    const last = (flags & Flag.LAST) !== 0;
    if (last && stream.is(Mark.Opener))
      throw new ProtocolError("LAST from the side that did not open the stream");
    this.#onFragment(stream, memory, start, end, flags, cost);
    if (last) this.#onLast(stream, id);
  }

  /** A message, or a part of one, in `memory[start..end)`. */
  #onFragment(
    stream: Stream,
    memory: Uint8Array,
    start: number,
    end: number,
    flags: number,
    cost: number,
  ): void {
    if (this.#isOver(stream)) return this.#creditConnection(cost);
    const more = (flags & Flag.MORE) !== 0;
    let partial = stream.incoming;
    if (partial === undefined && !more) {
      stream.unconsumed += cost;
      return this.#deliver(stream, memory, start, end, cost, false);
    }
    if (this.#large !== undefined) {
      memory = this.#large.memory;
      start += this.#large.start;
      end += this.#large.start;
    }
    if (partial === undefined) {
      if (end - start < 4)
        throw new ProtocolError("the first fragment of a message is too short for its length");
      const total = readU32(memory, start);
      if (total <= end - start - 4)
        throw new ProtocolError("the first fragment is longer than its message says");
      if (total > this.limits.maxMessageBytes) {
        this.#creditConnection(cost);
        return this.#refuseLong(stream, total);
      }
      partial = this.#beginPartial(stream, total);
      start += 4;
    }
    const length = partial.length + (end - start);
    const total = partial.bytes.length;
    if (more ? length >= total : length !== total) {
      throw new ProtocolError(
        `the fragments of a message of ${total} bytes are ${more ? "longer" : length} in all`,
      );
    }
    const { bytes } = partial;
    bytes.set(memory.subarray(start, end), partial.length);
    partial.length = length;
    partial.cost += cost;
    if (!more) {
      // The whole message is again unconsumed: what the connection credited of its parts counts against the next.
      const whole = partial.cost;
      this.#creditOwed -= whole - cost;
      stream.unconsumed += whole;
      this.#endPartial(stream);
      return this.#deliver(stream, bytes, 0, length, whole, true);
    }
    this.#creditConnection(cost);
  }

  #beginPartial(stream: Stream, total: number): PartialMessage {
    const sum = this.#partialBytes + total;
    const { reassemblyBytes } = this.limits;
    if (this.#partialMessages > 0 && sum > reassemblyBytes) {
      throw new ProtocolError(
        `messages in part of ${sum} bytes in all are over the limit of ${reassemblyBytes} (reassemblyBytes)`,
        Status.RESOURCE_EXHAUSTED,
      );
    }
    const partial = new PartialMessage(platform.allocate(total));
    stream.incoming = partial;
    this.#partialMessages++;
    this.#partialBytes = sum;
    return partial;
  }

  /** The message is complete or dropped. */
  #endPartial(stream: Stream): void {
    const partial = stream.incoming;
    if (partial === undefined) return;
    stream.incoming = undefined;
    this.#partialMessages--;
    this.#partialBytes -= partial.bytes.length;
  }

  /** Give the stream the message `memory[start..end)`, which is `owned` if it is all of `memory`, for nobody else. Its `cost` is unconsumed. */
  #deliver(
    stream: Stream,
    memory: Uint8Array,
    start: number,
    end: number,
    cost: number,
    owned: boolean,
  ): void {
    if (end - start > this.limits.maxMessageBytes) {
      stream.unconsumed -= cost;
      this.#creditConnection(cost);
      return this.#refuseLong(stream, end - start);
    }
    let message: unknown;
    let loan: LargeFrame | undefined = undefined;
    try {
      if (this.#large !== undefined && !owned) {
        const frame = this.#large;
        message = this.#decodeLarge(stream, frame, frame.start + start, frame.start + end);
        if (frame.lent) loan = frame;
      } else if (owned) message = this.#decodeOwned(stream, memory);
      else message = stream.inputCodec.decode(reader.begin(memory, start, end));
    } catch (error) {
      stream.unconsumed -= cost;
      this.#creditConnection(cost);
      return this.#refuse(
        stream,
        Status.INTERNAL,
        `a message could not be decoded: ${error instanceof Error ? error.message : String(error)}`,
        error,
      );
    }
    stream.onMessage(message, cost, loan);
  }

  /** Decode the message `frame.memory[start..end)`: a copy of it, unless its user wants what is large in it lent. */
  #decodeLarge(stream: Stream, frame: LargeFrame, start: number, end: number): unknown {
    if (stream.is(Mark.Lends)) {
      const message = stream.inputCodec.decode(reader.begin(frame.memory, start, end, { lender: frame }));
      // From here on it is its user's.
      if (frame.lent) this.#large = undefined;
      return message;
    }
    const bytes = platform.allocate(end - start);
    bytes.set(frame.memory.subarray(start, end));
    this.#large = undefined;
    frame.release();
    return this.#decodeOwned(stream, bytes);
  }

  /** Decode the message that is all of `bytes`, which the message may keep; nobody else does. */
  #decodeOwned(stream: Stream, bytes: Uint8Array): unknown {
    try {
      return stream.inputCodec.decode(reader.begin(bytes, 0, bytes.length, OWNED));
    } finally {
      reader.release();
    }
  }

  #refuseLong(stream: Stream, bytes: number): void {
    const text = `a message of ${bytes} bytes is over the limit of ${this.limits.maxMessageBytes}`;
    this.#refuse(stream, Status.RESOURCE_EXHAUSTED, text);
  }

  /** What the peer sent on this stream cannot be taken: the call ends, here and there. */
  #refuse(stream: Stream, code: Status, text: string, cause?: unknown): void {
    if (stream.is(Mark.Opener)) this.reset(stream, code, text);
    stream.onFailure(code, text, true, cause);
  }

  #onLast(stream: Stream, id: number): void {
    this.#checkNotEnded(stream, id);
    stream.mark(Mark.ReceivedEnd);
    if (!this.#isOver(stream)) stream.onHalfClose();
    this.#releaseIfEnded(stream);
    if (stream.isReleased) stream.onReleased();
  }

  #onHeaders(memory: Uint8Array, start: number, end: number, id: number, flags: number): void {
    const stream = this.#find(id, "HEADERS");
    if (
      !stream.is(Mark.Opener) ||
      stream.is(Mark.ReceivedHeaders | Mark.ReceivedEnd) ||
      (flags & Flag.METADATA) === 0
    ) {
      throw new ProtocolError(`HEADERS out of place on stream ${id}`);
    }
    stream.mark(Mark.ReceivedHeaders);
    const blockEnd = this.#blockEnd(memory, start, end);
    if (blockEnd !== end) throw new ProtocolError("HEADERS is longer than its metadata");
    const metadata = Metadata.fromBlock(readMetadata(memory, start + 2, blockEnd));
    if (!this.#isOver(stream)) stream.onHeaders(metadata);
  }

  #onEnd(memory: Uint8Array, start: number, end: number, id: number, flags: number, aux: number): void {
    const stream = this.#find(id, "END");
    const cost = end - start + FRAME_HEADER_BYTES;
    this.#spend(cost);
    stream.receiveWindow -= cost;
    if (stream.receiveWindow < 0 && (flags & Flag.MESSAGE) !== 0) {
      throw new ProtocolError(`stream ${id} was sent more than its window`);
    }
    if (!stream.is(Mark.Opener)) {
      if (start !== end)
        throw new ProtocolError("an END from the side that opened the stream has no payload");
      this.#creditConnection(cost);
      return this.#onLast(stream, id);
    }
    this.#checkNotEnded(stream, id);
    if (aux > Status.UNAUTHENTICATED) throw new ProtocolError(`END with unknown status ${aux}`);

    let at = start;
    let text = "";
    if ((flags & Flag.TEXT) !== 0) {
      const partEnd = this.#partEnd(memory, at, end);
      text = decodeText(memory, at + 2, partEnd);
      at = partEnd;
    }
    let { details } = OK;
    if ((flags & Flag.DETAILS) !== 0) {
      const partEnd = this.#partEnd(memory, at, end);
      details = decodeDetails(memory, at + 2, partEnd);
      at = partEnd;
    }
    let trailers: Metadata | undefined = undefined;
    if ((flags & Flag.METADATA) !== 0) {
      const blockEnd = this.#blockEnd(memory, at, end);
      trailers = Metadata.fromBlock(readMetadata(memory, at + 2, blockEnd));
      at = blockEnd;
    }
    if ((flags & Flag.MESSAGE) === 0 && at !== end) throw new ProtocolError("END is longer than its parts");

    stream.mark(Mark.ReceivedEnd);
    this.#forgetDeadline(stream);
    if (this.#isOver(stream)) this.#creditConnection(cost);
    else {
      if ((flags & Flag.MESSAGE) !== 0) {
        stream.unconsumed += cost;
        this.#deliver(stream, memory, at, end, cost, false);
      } else this.#creditConnection(cost);
      // Delivering may have ended the call (a message that could not be decoded).
      if (!this.#isOver(stream)) {
        this.#dropOutput(stream);
        if (!stream.is(Mark.SentEnd)) this.#enqueueReset(stream, RESET_ANSWER);
        const plain = aux === Status.OK && (flags & ~Flag.MESSAGE) === 0;
        stream.onStatus(plain ? OK : { code: aux as Status, text, details, trailers });
      }
    }
    this.#releaseIfEnded(stream);
    if (stream.isReleased) stream.onReleased();
  }

  #onReset(memory: Uint8Array, start: number, end: number, id: number, flags: number, aux: number): void {
    const stream = this.#findLate(id, "RESET");
    if (stream === undefined) return;
    if (aux > Status.UNAUTHENTICATED) throw new ProtocolError(`RESET with unknown status ${aux}`);
    if (stream.is(Mark.ReceivedEnd) && stream.is(Mark.Opener))
      throw new ProtocolError(`RESET after the end of stream ${id}`);
    let at = start;
    let text = "";
    if ((flags & Flag.TEXT) !== 0) {
      at = this.#partEnd(memory, start, end);
      text = decodeText(memory, start + 2, at);
    }
    if (at !== end) throw new ProtocolError("RESET is longer than its text");
    const over = this.#isOver(stream);
    stream.mark(Mark.ReceivedEnd);
    this.#forgetDeadline(stream);
    this.#dropOutput(stream); // an END that waits for credit would wait for ever
    this.#dropInput(stream);
    if (!stream.is(Mark.SentEnd | Mark.ResetPending)) this.#enqueueReset(stream, RESET_ANSWER);
    if (!over) stream.onFailure((aux || Status.CANCELLED) as Status, text, (flags & Flag.NOT_RUN) === 0);
    this.#releaseIfEnded(stream);
  }

  #onCredit(memory: Uint8Array, start: number, end: number, id: number): void {
    if (end - start !== 4) throw new ProtocolError("CREDIT is not 4 bytes");
    const bytes = readU32(memory, start);
    if (id === 0) {
      this.#sendWindow += bytes;
      if (this.#sendWindow > MAX_WINDOW_BYTES) throw new ProtocolError("credit of the connection overflows");
      return this.#pump();
    }
    const stream = this.#findLate(id, "CREDIT");
    if (stream === undefined) return;
    stream.sendWindow += bytes;
    if (stream.sendWindow > MAX_WINDOW_BYTES) throw new ProtocolError(`credit of stream ${id} overflows`);
    if (stream.is(Mark.Starved) && stream.sendWindow >= stream.starvedFor) {
      stream.unmark(Mark.Starved);
      this.#enqueue(stream);
      this.#pump();
    }
  }

  #onPing(memory: Uint8Array, start: number, end: number, id: number, type: number): void {
    if (end - start !== 8 || id !== 0) throw new ProtocolError("PING or PONG is not 8 bytes on stream 0");
    if (type === FrameType.PONG) this.#pingOutstanding = false;
    else {
      this.#pongPending = copyOf(memory, start, end);
      this.#pump();
    }
  }

  #onGoaway(memory: Uint8Array, start: number, end: number, id: number, code: number): void {
    if (end - start < 4 || id !== 0) throw new ProtocolError("GOAWAY is too short, or not on stream 0");
    this.#peerAccepted = fullCount(this.#opened, readU32(memory, start));
    const text = decodeText(memory, start + 4, end);
    if (code !== Status.OK) {
      const status = code <= Status.UNAUTHENTICATED ? (code as Status) : Status.UNKNOWN;
      this.#error = new RpcError(status, `the peer closed the connection: ${text}`);
      return this.#fail(this.#error, false);
    }
    if (this.#state === State.Ready) this.#state = State.Draining;
    this.#owner.onDraining(this);
    this.#refuseWaiting();
    this.#finishIfIdle();
  }

  // ------------------------------------------------------------------------------------------------ Streams

  /** The stream of a frame that only a stream in flight may have. */
  #find(id: number, frame: string): Stream {
    const stream = this.#at(id);
    if (stream === undefined) throw new ProtocolError(`${frame} for stream ${id}, which is not open`);
    return stream;
  }

  /** The same for frames that the opener may send before it knows that the stream has ended: undefined then. */
  #findLate(id: number, frame: string): Stream | undefined {
    const stream = this.#at(id);
    if (stream !== undefined) return stream;
    const remote = (id & 1) === (this.connecting ? 0 : 1);
    if (!remote || this.#remoteIds[slotOf(id)] !== id || id === 0) {
      throw new ProtocolError(`${frame} for stream ${id}, which was never open`);
    }
    return undefined;
  }

  #at(id: number): Stream | undefined {
    const local = (id & 1) === (this.connecting ? 1 : 0);
    const stream = (local ? this.#local : this.#remote)[slotOf(id)];
    // An OPEN that is not committed yet has an id, but the peer cannot know it.
    return stream !== undefined && stream.id === (id | 0) && !(local && stream.opening !== undefined)
      ? stream
      : undefined;
  }

  /** This end has ended the stream early, or is about to: what still arrives is dropped. */
  #isOver(stream: Stream): boolean {
    if (stream.is(Mark.ResetPending | Mark.SentReset)) return true;
    return !stream.is(Mark.Opener) && (stream.is(Mark.SentEnd) || stream.ending !== undefined);
  }

  get #hasSlot(): boolean {
    return this.#freeSlots.length > 0 || this.#localIds.length < this.#maxSlots;
  }

  /** Nothing more may be sent on the stream. */
  #isGone(stream: Stream): boolean {
    return stream.is(Mark.SentEnd | Mark.ResetPending) || this.#state === State.Closed;
  }

  #takeSlot(stream: Stream): void {
    let slot = this.#freeSlots.pop();
    if (slot === undefined) {
      if (this.#local === NO_STREAMS) this.#local = [];
      slot = this.#localIds.length;
      this.#localIds.push(0);
      this.#localOrdinals.push(0);
      this.#local.push(undefined);
    }
    const generation = nextGeneration(generationOf(this.#localIds[slot]!));
    stream.id = streamId(this.connecting ? 1 : 0, slot, generation) | 0;
    stream.sendWindow = this.#peer!.streamWindowBytes;
    stream.receiveWindow = this.limits.streamWindowBytes;
    this.#local[slot] = stream;
    this.#localCount++;
  }

  /** Give back the slot of a stream whose OPEN was not committed: the generation has not been used. */
  #returnSlot(stream: Stream): void {
    const slot = slotOf(stream.id);
    this.#local[slot] = undefined;
    this.#freeSlots.push(slot);
    this.#localCount--;
    stream.id = 0;
    this.#openWaiting();
    this.#finishIfIdle();
  }

  #forgetDeadline(stream: Stream): void {
    if (stream.deadline !== undefined) this.wheel.remove(stream.deadline);
  }

  #releaseIfEnded(stream: Stream): void {
    if (!stream.is(Mark.ReceivedEnd) || !stream.is(Mark.SentEnd)) return;
    if (stream.is(Mark.ResetPending) || stream.id === 0) return;
    const slot = slotOf(stream.id);
    this.#forgetDeadline(stream);
    if (stream.is(Mark.Opener)) {
      if (this.#local[slot] !== stream) return;
      this.#local[slot] = undefined;
      this.#freeSlots.push(slot);
      this.#localCount--;
      this.#openWaiting();
    } else {
      if (this.#remote[slot] !== stream) return;
      this.#remote[slot] = undefined;
      this.#remoteCount--;
    }
    if (this.#state === State.Draining) this.#finishIfIdle();
  }

  /** Calls that waited for a slot take those that are free. */
  #openWaiting(): void {
    while (this.#waitingHead < this.#waiting.length && this.#hasSlot) {
      const stream = this.#waiting[this.#waitingHead++];
      if (!stream.is(Mark.WaitsForSlot)) continue;
      this.#stopWaiting(stream);
      this.#takeSlot(stream);
      this.#enqueue(stream);
    }
    if (this.#sendHead !== undefined) this.#pump();
  }

  #stopWaiting(stream: Stream): void {
    if (!stream.is(Mark.WaitsForSlot)) return;
    stream.unmark(Mark.WaitsForSlot);
    this.#waitingCount--;
    // Once those that have left are the larger part they are forgotten: the queue may never be empty.
    if (this.#waiting.length >= 2 * this.#waitingCount + 32) {
      this.#waiting = this.#waiting.filter((one) => one.is(Mark.WaitsForSlot));
      this.#waitingHead = 0;
    }
  }

  /** Fail the calls that have not been sent: they certainly did not run. */
  #refuseWaiting(): void {
    for (const stream of [...this.#waiting, ...this.#local]) {
      // Those before it may have made room for it.
      if (stream?.opening === undefined) continue;
      this.reset(stream, Status.UNAVAILABLE, "");
      stream.onFailure(Status.UNAVAILABLE, "the connection is closing", false);
    }
  }

  #dropOutput(stream: Stream): void {
    this.#endOutgoing(stream);
    if (this.#starved.size > 0) this.#starved.delete(stream);
    stream.ending = undefined;
    stream.headersPending = undefined;
    stream.unmark(Mark.LastPending);
  }

  #dropInput(stream: Stream): void {
    this.#endPartial(stream);
    this.#creditConnection(stream.unconsumed);
    stream.unconsumed = 0;
  }

  // ------------------------------------------------------------------------------------------------ Credit

  #spend(cost: number): void {
    this.#receiveWindow -= cost;
    if (this.#receiveWindow < 0) throw new ProtocolError("the connection was sent more than its window");
  }

  #creditConnection(cost: number): void {
    this.#creditOwed += cost;
    if (this.#creditOwed >= this.limits.connectionWindowBytes >>> 2) this.#pump();
  }

  #creditStream(stream: Stream): void {
    if (
      this.#owed(stream) >= this.limits.streamWindowBytes >>> 2 &&
      !stream.is(Mark.ReceivedEnd) &&
      !this.#isOver(stream)
    ) {
      this.#enqueueControl(stream);
    }
  }

  /**
   * Credit earned by consumption and not yet given: what the window lacks beside that of which messages are not consumed, or not
   * whole. Below zero while whole messages that were credited in part wait.
   */
  #owed(stream: Stream): number {
    const held = stream.unconsumed + (stream.incoming?.cost ?? 0);
    return this.limits.streamWindowBytes - stream.receiveWindow - held;
  }

  // ------------------------------------------------------------------------------------------------ Output

  #enqueue(stream: Stream): void {
    if (stream.is(Mark.SendQueued)) return;
    if (this.#encoding) this.#pumpDue = true;
    stream.mark(Mark.SendQueued | Mark.WasQueued);
    stream.sendNext = undefined;
    if (this.#sendTail === undefined) this.#sendHead = stream;
    else this.#sendTail.sendNext = stream;
    this.#sendTail = stream;
  }

  #dequeue(): void {
    const stream = this.#sendHead!;
    this.#sendHead = stream.sendNext;
    if (this.#sendHead === undefined) this.#sendTail = undefined;
    stream.sendNext = undefined;
    stream.unmark(Mark.SendQueued);
  }

  /** Have the stream's CREDIT sent. */
  #enqueueControl(stream: Stream): void {
    if (!this.#control.has(stream)) this.#control.set(stream, undefined);
    stream.mark(Mark.WasQueued);
    this.#pump();
  }

  #enqueueReset(stream: Stream, reset: Reset): void {
    stream.mark(Mark.ResetPending | Mark.WasQueued);
    this.#control.set(stream, reset);
    this.#pump();
  }

  /** Write what waits, as far as there is room: first control, then one frame of each stream in turn. */
  #pump(): void {
    if (this.#encoding) this.#pumpDue = true;
    if (this.#encoding || this.#pumping || this.#state === State.Closed) return;
    this.#pumping = true;
    try {
      while (this.#sendControl()) {
        const stream = this.#sendHead ?? this.#nextStarved();
        if (stream === undefined) break;
        if (stream === this.#sendHead) this.#dequeue();
        const { opening } = stream;
        if (opening?.expireAt !== undefined) opening.remainingMs = opening.expireAt - this.clock.now();
        const sent = this.#sendFrame(stream, undefined, undefined);
        if (sent === Sent.NoRoom) {
          // It keeps its turn.
          stream.mark(Mark.SendQueued);
          stream.sendNext = this.#sendHead;
          this.#sendHead = stream;
          this.#sendTail ??= stream;
          break;
        }
        if (sent === Sent.More) this.#enqueue(stream);
        else if (sent === Sent.All) this.#afterSent(stream);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /**
   * The first stream that waited for credit of the connection of which there is now enough. One at a time: else a peer
   * could make all of them try again and again by a few bytes, and one that then waits for something else would leave
   * the credit unused.
   */
  #nextStarved(): Stream | undefined {
    for (const stream of this.#starved) {
      if (stream.starvedFor > this.#sendWindow) continue;
      this.#starved.delete(stream);
      return stream;
    }
    return undefined;
  }

  /** Nothing of the stream is left to send: it may be over, or take another message. */
  #afterSent(stream: Stream): void {
    if (stream.is(Mark.SentEnd)) this.#releaseIfEnded(stream);
    else if (!stream.is(Mark.ResetPending)) stream.onSendable();
  }

  /** Send at once as much as goes; the rest is queued. Returns whether nothing is left. */
  #sendNow(stream: Stream, codec: MessageCodec<unknown> | undefined, message: unknown): boolean {
    if (this.#encoding) {
      this.#enqueue(stream);
      return false;
    }
    let sent = this.#sendFrame(stream, codec, message);
    // A large message takes turns with the others from its second frame on.
    if (sent === Sent.More && this.#sendHead === undefined) {
      while (sent === Sent.More) sent = this.#sendFrame(stream, undefined, undefined);
    }
    if (sent === Sent.All) {
      if (stream.is(Mark.SentEnd)) this.#releaseIfEnded(stream);
      return true;
    }
    if (sent !== Sent.Waiting) this.#enqueue(stream);
    return false;
  }

  /** Encode a message into memory of its own, to be sent when it can be. */
  #encodeAside(stream: Stream, codec: MessageCodec<unknown>, message: unknown): void {
    const writer = writers.pop() ?? new MessageWriter();
    try {
      writer.begin(NO_BYTES, 0, 0);
      codec.encode(message, writer);
      this.#keepEncoded(stream, writer);
    } finally {
      writers.push(writer);
    }
  }

  #keepEncoded(stream: Stream, writer: MessageWriter): void {
    const length = writer.position - writer.start;
    this.#checkMessage(stream, length);
    if (this.#isGone(stream)) return; // user code that encoding ran has ended it
    stream.outgoing = new OutgoingMessage(writer.detach(), length);
  }

  /**
   * Send the stream's next frame. With `codec` the frame carries `message`, encoded in place where it fits; nothing else
   * of the stream is pending before it then.
   */
  #sendFrame(stream: Stream, codec: MessageCodec<unknown> | undefined, message: unknown): Sent {
    if (stream.headersPending !== undefined) {
      if (!this.#writeHeaders(stream)) {
        if (codec !== undefined) this.#encodeAside(stream, codec, message);
        return Sent.NoRoom;
      }
    }
    const { opening, ending, outgoing } = stream;
    const { connection } = this;
    const started = outgoing !== undefined && outgoing.position > 0;
    // Of its stream's window only what begins a message needs to find room: the rest of it, and the end, may exceed it.
    const begins = codec !== undefined || (outgoing !== undefined && !started);
    const window = begins ? Math.min(stream.sendWindow, this.#sendWindow) : this.#sendWindow;

    // What kind of frame, and how long it is before its message.
    let head = FRAME_HEADER_BYTES;
    let methodNumber = 0;
    let named = false;
    let text: Uint8Array | undefined = undefined;
    let details: Uint8Array | undefined = undefined;
    if (opening !== undefined) {
      const known = this.#localMethods.get(opening.path);
      named = known === undefined;
      methodNumber = known ?? this.#localMethods.size;
      if (named) head += 2 + opening.path.length;
      if (opening.expireAt !== undefined) head += 4;
      if (opening.metadata !== undefined) head += 2 + opening.metadata.length;
    } else if (ending !== undefined) {
      if (ending.text !== "") {
        text = encodeText(ending.text, this.#maxTextBytes);
        head += 2 + text.length;
      }
      if (ending.details.length > 0) {
        details = encodeDetails(ending.details);
        head += 2 + details.length;
      }
      if (ending.trailers !== undefined) head += 2 + ending.trailers.block.length;
    } else if (codec === undefined && outgoing === undefined && !stream.is(Mark.LastPending)) {
      return Sent.All;
    }

    // An END takes the message with it only if all of it fits; else DATA goes first.
    let isEnd =
      opening === undefined && (ending !== undefined || (codec === undefined && outgoing === undefined));
    let size = head;
    let fragmented = false;
    if (outgoing !== undefined) {
      const rest = outgoing.length - outgoing.position;
      const most = this.#maxWholeBytes;
      if (isEnd && (started || head + rest > most)) {
        isEnd = false;
        head = FRAME_HEADER_BYTES;
      }
      size = head + rest;
      const limit = Math.min(this.#frameLimit(size), window);
      if (started || (size > most && size > limit)) {
        fragmented = true;
        if (!started) head += 4;
        const least = Math.min(head + rest, head + LEAST_FRAGMENT_BYTES, most);
        if (window < least) return this.#starve(stream, least);
        // The peer has room for it perhaps only once it knows of a RESET that waits.
        if (!outgoing.begun && this.#control.size > 0) return Sent.NoRoom;
        if (!this.#maySendFragment(stream, outgoing)) return Sent.Waiting;
        size = Math.min(head + rest, limit);
      } else if (window < size) return this.#starve(stream, size);
    } else if (codec !== undefined) {
      if (window < head + GUESSED_MESSAGE_BYTES) {
        this.#encodeAside(stream, codec, message);
        return this.#sendFrame(stream, undefined, undefined);
      }
      size = head + GUESSED_MESSAGE_BYTES;
    } else if (window < size) return this.#starve(stream, size);

    if (!connection.reserve(size)) {
      if (codec !== undefined) this.#encodeAside(stream, codec, message);
      return Sent.NoRoom;
    }
    let { memory, rangeStart } = connection;
    let at = rangeStart + FRAME_HEADER_BYTES;
    let flags = 0;
    if (opening !== undefined) {
      if (named) {
        flags |= Flag.NAMED;
        at = writeU16(memory, at, opening.path.length);
        at = writeAscii(memory, at, opening.path);
      }
      if (opening.expireAt !== undefined) {
        flags |= Flag.TIMEOUT;
        at = writeU32(memory, at, Math.min(Math.max(Math.ceil(opening.remainingMs), 0), 0xffff_ffff));
      }
      if (opening.metadata !== undefined) {
        flags |= Flag.METADATA;
        at = writeMetadata(memory, at, opening.metadata);
      }
    } else if (isEnd && ending !== undefined) {
      if (text !== undefined) {
        flags |= Flag.TEXT;
        at = writeU16(memory, at, text.length);
        memory.set(text, at);
        at += text.length;
      }
      if (details !== undefined) {
        flags |= Flag.DETAILS;
        at = writeU16(memory, at, details.length);
        memory.set(details, at);
        at += details.length;
      }
      if (ending.trailers !== undefined) {
        flags |= Flag.METADATA;
        at = writeMetadata(memory, at, ending.trailers.block);
      }
    }

    let finished = true;
    if (codec !== undefined) {
      const end = Math.min(connection.rangeEnd, rangeStart + this.#maxFrameBytes, rangeStart + window);
      const writer = writers.pop() ?? new MessageWriter();
      let overflowed = true;
      this.#encoding = true;
      try {
        this.#headBytes = at - rangeStart;
        this.#frameCredit = window;
        codec.encode(
          message,
          writer.begin(memory, at, end, this.#maxLargeBytes > 0 ? this.#widen : undefined),
        );
        overflowed = writer.overflowed;
        if (overflowed) this.#keepEncoded(stream, writer);
        else {
          at = writer.position;
          ({ memory, rangeStart } = connection);
          this.#checkMessage(stream, at - writer.start);
        }
      } catch (error) {
        connection.cancel();
        throw error;
      } finally {
        this.#encoding = false;
        writers.push(writer);
        // What user code did while the message was encoded (a getter that makes or cancels a call) follows this frame.
        if (this.#pumpDue) {
          this.#pumpDue = false;
          queueMicrotask(() => this.#pump());
        }
      }
      if (overflowed || this.#isGone(stream)) {
        connection.cancel();
        return overflowed ? Sent.More : Sent.All;
      }
      flags |= Flag.MESSAGE;
    } else if (outgoing !== undefined) {
      const { bytes, length, position } = outgoing;
      if (fragmented && position === 0) at = writeU32(memory, at, length);
      const part = Math.min(length - position, rangeStart + size - at);
      memory.set(bytes.subarray(position, position + part), at);
      outgoing.position += part;
      at += part;
      flags |= Flag.MESSAGE;
      finished = outgoing.position === length;
      if (!finished) {
        flags |= Flag.MORE;
        if (outgoing === this.#outFirst && outgoing.position >= this.#outTurnEnd) this.#nextTurn();
      } else {
        recycle(bytes);
        this.#endOutgoing(stream);
      }
    }

    const cost = at - rangeStart;
    const payload = cost - FRAME_HEADER_BYTES;
    const last = finished && stream.is(Mark.LastPending);
    if (opening !== undefined) {
      if (last) flags |= Flag.LAST;
      writeHeader(memory, rangeStart, payload, stream.id, FrameType.OPEN, flags, methodNumber);
      if (named) this.#localMethods.set(opening.path, methodNumber);
      const slot = slotOf(stream.id);
      this.#localIds[slot] = stream.id;
      this.#localOrdinals[slot] = ++this.#opened;
      stream.opening = undefined;
    } else if (isEnd) {
      const code = ending?.code ?? Status.OK;
      writeHeader(memory, rangeStart, payload, stream.id, FrameType.END, flags, code);
      stream.ending = undefined;
    } else {
      if (last) flags |= Flag.LAST;
      writeHeader(memory, rangeStart, payload, stream.id, FrameType.DATA, flags & ~Flag.MESSAGE, 0);
    }
    if (last || isEnd) {
      stream.unmark(Mark.LastPending);
      stream.mark(Mark.SentEnd);
    }
    connection.commit(cost);
    stream.sendWindow -= cost;
    this.#sendWindow -= cost;
    return finished && stream.ending === undefined && !stream.is(Mark.LastPending) ? Sent.All : Sent.More;
  }

  /** The largest frame that can be had for `size` bytes now. */
  #frameLimit(size: number): number {
    return size > this.#maxFrameBytes && this.#maxLargeBytes > 0 && this.connection.large!.available
      ? this.#maxLargeBytes
      : this.#maxFrameBytes;
  }

  /** The message that is being encoded has `bytes` at least, too many for the range that was reserved: a large frame instead. */
  readonly #widen = (used: number, bytes: number): Range | undefined => {
    const { connection } = this;
    const head = this.#headBytes;
    const most = Math.min(this.#maxLargeBytes, this.#frameCredit);
    if (head + bytes > most || !connection.large!.available) return undefined;
    connection.widen!(head + used, head + bytes);
    const { memory, rangeStart, rangeEnd } = connection;
    return { memory, start: rangeStart + head, end: Math.min(rangeEnd, rangeStart + most) };
  };

  /** Write the stream's pending HEADERS, if there is room. */
  #writeHeaders(stream: Stream): boolean {
    const block = stream.headersPending!;
    if (!this.connection.reserve(FRAME_HEADER_BYTES + 2 + block.length)) return false;
    const { memory, rangeStart } = this.connection;
    const start = rangeStart + FRAME_HEADER_BYTES;
    const end = writeMetadata(memory, start, block);
    writeHeader(memory, rangeStart, end - start, stream.id, FrameType.HEADERS, Flag.METADATA, 0);
    this.connection.commit(end - rangeStart);
    stream.headersPending = undefined;
    return true;
  }

  /** Remember that the stream waits for credit: its own, or else the connection's. */
  #starve(stream: Stream, bytes: number): Sent {
    stream.starvedFor = bytes;
    stream.mark(Mark.WasQueued);
    if (this.#sendWindow < bytes) this.#starved.add(stream);
    else stream.mark(Mark.Starved);
    return Sent.Waiting;
  }

  /**
   * Whether it is the turn of the stream's message, which is too long for one frame; if not, it waits. They take turns by the
   * MiB and not by the frame: all that went side by side would be whole late, and until then take memory at both ends, so much
   * that the garbage collector would have to look for it again and again.
   */
  #maySendFragment(stream: Stream, message: OutgoingMessage): boolean {
    if (message === this.#outFirst) return true;
    if (this.#outFirst === undefined) {
      // First come, first served.
      if (message.begun || (this.#outWaiting.length === 0 && this.#fitsBudget(message))) {
        this.#beginTurn(message);
        return true;
      }
    }
    if (!message.waiting) {
      message.waiting = true;
      stream.mark(Mark.WasQueued);
      this.#outWaiting.push(stream);
    }
    return false;
  }

  #fitsBudget(message: OutgoingMessage): boolean {
    return this.#outPartial === 0 || this.#outPartial + message.length <= this.#peer!.reassemblyBytes;
  }

  #beginTurn(message: OutgoingMessage): void {
    if (!message.begun) this.#outPartial += message.length;
    message.begun = true;
    this.#outFirst = message;
    this.#outTurnEnd = message.position + TURN_BYTES;
  }

  /** The message whose turn it was has had it, or is over. */
  #nextTurn(): void {
    this.#outFirst = undefined;
    let mayBegin = true;
    for (const [index, next] of this.#outWaiting.entries()) {
      const message = next.outgoing!;
      if (!message.begun) mayBegin &&= this.#fitsBudget(message);
      if (!message.begun && !mayBegin) continue;
      this.#outWaiting.splice(index, 1);
      message.waiting = false;
      this.#beginTurn(message);
      return this.#enqueue(next);
    }
  }

  /** The stream's message has been sent or dropped. */
  #endOutgoing(stream: Stream): void {
    const message = stream.outgoing;
    if (message === undefined) return;
    stream.outgoing = undefined;
    if (message.waiting) this.#outWaiting.splice(this.#outWaiting.indexOf(stream), 1);
    if (!message.begun) return;
    this.#outPartial -= message.length;
    if (message === this.#outFirst || this.#outFirst === undefined) this.#nextTurn();
  }

  /** Write the control frames that are due. Returns whether there was room for all. */
  #sendControl(): boolean {
    const { connection } = this;
    if (this.#helloPending) {
      if (!connection.reserve(FRAME_HEADER_BYTES + HELLO_PAYLOAD_BYTES)) return false;
      const { limits } = this;
      const hello: Hello = {
        lowestVersion: WIRE_VERSION,
        version: WIRE_VERSION,
        maxFrameBytes: connection.large?.maxBytes ?? connection.traits.maxFrameBytes,
        maxMessageBytes: limits.maxMessageBytes,
        maxMetadataBytes: limits.maxMetadataBytes,
        maxConcurrentStreams: limits.maxConcurrentStreams,
        streamWindowBytes: limits.streamWindowBytes,
        connectionWindowBytes: limits.connectionWindowBytes,
        reassemblyBytes: limits.reassemblyBytes,
        traits: this.#answersPing ? 0 : HelloTrait.ANSWERS_NO_PING,
      };
      connection.commit(writeHello(connection.memory, connection.rangeStart, hello));
      this.#helloPending = false;
      if (this.#peer !== undefined) this.#becomeReady();
    }
    if (this.#goawayPending) {
      if (!this.#writeGoaway()) return false;
      this.#finishIfIdle();
    }
    if (this.#pongPending !== undefined) {
      if (!this.#writeControl(FrameType.PONG, 0, this.#pongPending)) return false;
      this.#pongPending = undefined;
    }
    if (this.#pingPending) {
      if (!this.#writeControl(FrameType.PING, 0, PING_PAYLOAD)) return false;
      this.#pingPending = false;
    }
    if (this.#creditOwed >= this.limits.connectionWindowBytes >>> 2) {
      if (!this.#writeCredit(0, this.#creditOwed)) return false;
      this.#receiveWindow += this.#creditOwed;
      this.#creditOwed = 0;
    }
    for (const [stream, reset] of this.#control) {
      const sent = reset === undefined ? this.#sendCredit(stream) : this.#sendReset(stream, reset);
      if (!sent) return false;
      this.#control.delete(stream);
      this.#releaseIfEnded(stream);
    }
    return true;
  }

  #sendReset(stream: Stream, reset: Reset): boolean {
    const text = encodeText(reset.text, this.#maxTextBytes);
    const bytes = FRAME_HEADER_BYTES + (text.length === 0 ? 0 : 2 + text.length);
    if (!this.connection.reserve(bytes)) return false;
    const { memory, rangeStart } = this.connection;
    let flags = reset.notRun ? Flag.NOT_RUN : 0;
    if (text.length > 0) {
      flags |= Flag.TEXT;
      memory.set(text, writeU16(memory, rangeStart + FRAME_HEADER_BYTES, text.length));
    }
    const payload = bytes - FRAME_HEADER_BYTES;
    writeHeader(memory, rangeStart, payload, stream.id, FrameType.RESET, flags, reset.code);
    this.connection.commit(bytes);
    stream.unmark(Mark.ResetPending);
    stream.mark(Mark.SentReset | Mark.SentEnd);
    return true;
  }

  #sendCredit(stream: Stream): boolean {
    if (stream.is(Mark.ReceivedEnd) || this.#isOver(stream)) return true;
    const due = this.#owed(stream);
    if (due <= 0) return true;
    if (!this.#writeCredit(stream.id, due)) return false;
    stream.receiveWindow += due;
    return true;
  }

  #writeCredit(id: number, bytes: number): boolean {
    if (!this.connection.reserve(FRAME_HEADER_BYTES + 4)) return false;
    const { memory, rangeStart } = this.connection;
    writeU32(memory, writeHeader(memory, rangeStart, 4, id, FrameType.CREDIT, 0, 0), bytes);
    this.connection.commit(FRAME_HEADER_BYTES + 4);
    return true;
  }

  #writeControl(type: number, aux: number, payload: Uint8Array): boolean {
    if (!this.connection.reserve(FRAME_HEADER_BYTES + payload.length)) return false;
    const { memory, rangeStart } = this.connection;
    memory.set(payload, writeHeader(memory, rangeStart, payload.length, 0, type, 0, aux));
    this.connection.commit(FRAME_HEADER_BYTES + payload.length);
    return true;
  }

  #writeGoaway(): boolean {
    const text = encodeText(this.#goawayText, this.#maxTextBytes);
    const payload = new Uint8Array(4 + text.length);
    writeU32(payload, 0, this.#accepted);
    payload.set(text, 4);
    if (!this.#writeControl(FrameType.GOAWAY, this.#goawayCode, payload)) return false;
    this.#goawayPending = false;
    this.#goawaySent = true;
    return true;
  }

  // ------------------------------------------------------------------------------------------------ Endings

  #finishIfIdle(): void {
    if (this.#state !== State.Draining || this.#goawayPending) return;
    if (this.localStreams === 0 && this.#remoteCount === 0) this.connection.close();
  }

  /** End the session because of `error`; with `tell` the peer learns why, if there is room to say it. */
  #fail(error: Error, tell: boolean): void {
    this.#state = State.Closed;
    this.#error ??= error;
    this.#timer?.cancel();
    if (tell && !this.#encoding) {
      this.#goawayCode = error instanceof RpcError ? error.code : Status.INTERNAL;
      this.#goawayText = error.message;
      if (this.#writeGoaway()) this.connection.close();
      else this.connection.destroy(error);
    } else this.connection.destroy(error);
    this.#failStreams();
  }

  /** Tell every stream that the connection is gone. */
  #failStreams(): void {
    const text =
      this.#error === undefined
        ? "the peer closed the connection"
        : `the connection was lost: ${this.#error.message}`;
    const streams = [
      ...this.#local,
      ...this.#waiting.filter((stream) => stream.is(Mark.WaitsForSlot)),
      ...this.#remote,
    ];
    this.#local = this.#remote = NO_STREAMS as (Stream | undefined)[];
    this.#waiting = [];
    this.#waitingHead = this.#waitingCount = this.#localCount = this.#remoteCount = 0;
    this.#partialMessages = this.#partialBytes = 0;
    this.#control.clear();
    this.#starved.clear();
    this.#outWaiting = [];
    this.#sendHead = this.#sendTail = undefined;
    for (const stream of streams) {
      if (stream === undefined) continue;
      this.#forgetDeadline(stream);
      const opener = stream.is(Mark.Opener);
      const over = stream.is(Mark.ResetPending | Mark.SentReset) || (opener && stream.is(Mark.ReceivedEnd));
      const mayHaveRun =
        opener && stream.wasOpened && this.#localOrdinals[slotOf(stream.id)]! <= this.#peerAccepted;
      stream.outgoing = stream.incoming = undefined;
      stream.mark(Mark.SentEnd | Mark.SentReset | Mark.ReceivedEnd);
      if (over) continue;
      stream.onFailure(Status.UNAVAILABLE, text, mayHaveRun, this.#error);
    }
  }

  #watchPeer(keepalive: Keepalive): void {
    this.#setTimer(() => this.#checkPeer(keepalive), keepalive.intervalMs);
  }

  #checkPeer(keepalive: Keepalive): void {
    const mayBeSilent =
      (this.#peer!.traits & HelloTrait.ANSWERS_NO_PING) !== 0 && this.#localCount + this.#remoteCount === 0;
    if (this.#framesReceived !== this.#framesAtLastCheck || mayBeSilent) {
      this.#framesAtLastCheck = this.#framesReceived;
      this.#pingOutstanding = false;
      return this.#watchPeer(keepalive);
    }
    if (this.#pingOutstanding) {
      const silent = `the peer has not answered a PING for ${keepalive.timeoutMs} ms`;
      return this.destroy(new RpcError(Status.UNAVAILABLE, silent));
    }
    this.#pingPending = this.#pingOutstanding = true;
    this.#setTimer(() => this.#checkPeer(keepalive), keepalive.timeoutMs);
    this.#pump();
  }

  // ------------------------------------------------------------------------------------------------ Checks

  /** The peer ends the stream: once, and between messages. */
  #checkNotEnded(stream: Stream, id: number): void {
    if (stream.is(Mark.ReceivedEnd)) throw new ProtocolError(`stream ${id} was ended twice`);
    if (stream.incoming !== undefined) {
      throw new ProtocolError(`stream ${id} ended inside a message`);
    }
  }

  #checkMessage(stream: Stream, bytes: number): void {
    const limit = this.#peer!.maxMessageBytes;
    if (bytes > limit) {
      throw new RpcError(
        Status.RESOURCE_EXHAUSTED,
        stream.is(Mark.Opener)
          ? `a request of ${bytes} bytes is over the limit of the side that serves it, ${limit} (limits.maxMessageBytes there)`
          : `a response of ${bytes} bytes is over the limit of the caller, ${limit} (limits.maxMessageBytes where it connects)`,
      );
    }
  }

  #checkMetadata(bytes: number, what: string): void {
    if (bytes > this.#maxMetadataBytes) {
      throw new RpcError(
        Status.RESOURCE_EXHAUSTED,
        `${what} takes ${bytes} bytes; the connection's limit is ${this.#maxMetadataBytes}`,
      );
    }
  }

  #checkEnding(ending: Ending): void {
    const details = ending.details.reduce(
      (sum, { typeUrl, value }) => sum + 3 * typeUrl.length + value.length + 16,
      0,
    );
    const trailers = ending.trailers?.block.length ?? 0;
    this.#checkMetadata(trailers + details, "the response's trailers with its error details");
  }

  #checkMethod(path: string): void {
    if (!METHOD_NAME.test(path)) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `the method's name has a character that is not printable ASCII: ${JSON.stringify(path)}`,
      );
    }
    if (path.length > MAX_METHOD_NAME_BYTES) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `the method's name has ${path.length} bytes; at most ${MAX_METHOD_NAME_BYTES} are allowed: ${path}`,
      );
    }
    if (this.#localMethods.size >= MAX_METHODS) {
      throw new RpcError(
        Status.RESOURCE_EXHAUSTED,
        `one connection can name ${MAX_METHODS} methods; use another channel for ${path}`,
      );
    }
  }

  /** The end of a `u16 length, bytes` part that begins at `at`. */
  #partEnd(memory: Uint8Array, at: number, end: number): number {
    const partEnd = at + 2 <= end ? at + 2 + readU16(memory, at) : Infinity;
    if (partEnd > end || partEnd > memory.length)
      throw new ProtocolError("a part of a frame is longer than the frame");
    return partEnd;
  }

  /** The same for a metadata block, whose size is limited. */
  #blockEnd(memory: Uint8Array, at: number, end: number): number {
    const blockEnd = this.#partEnd(memory, at, end);
    const bytes = blockEnd - at - 2;
    if (bytes > this.limits.maxMetadataBytes) {
      throw new ProtocolError(
        `metadata of ${bytes} bytes is over the limit of ${this.limits.maxMetadataBytes}`,
        Status.RESOURCE_EXHAUSTED,
      );
    }
    return blockEnd;
  }
}
