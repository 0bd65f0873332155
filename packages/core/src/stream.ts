import type { MessageCodec } from "./definition.js";
import type { ErrorDetail } from "./error.js";
import type { Metadata } from "./metadata.js";
import type { Session } from "./session.js";
import type { Status } from "./status.js";
import type { Expiring, TimerList } from "./timer-wheel.js";
import type { LargeFrame } from "./transport.js";

/** What begins a call, until its OPEN has been committed. */
export interface Opening {
  /** `package.Service/Method`. */
  readonly path: string;
  /** On the session's clock; undefined for no deadline. */
  readonly expireAt: number | undefined;
  /** How long that is from now; brought up to date by the session when the call has had to wait. */
  remainingMs: number;
  /** A metadata block. */
  readonly metadata: Uint8Array | undefined;
}

/** How the accepting side ends a stream. */
export interface Ending {
  readonly code: Status;
  readonly text: string;
  readonly details: readonly ErrorDetail[];
  readonly trailers: Metadata | undefined;
}

/**
 * One call on one session: the state that the session keeps of it, and what the session tells it. The fields belong to
 * the session; subclasses (the two sides of calls in `client.ts` and `server.ts`) use its methods. All `on...` methods
 * are called from the session's own turn (a frame, room, a timer), never from inside `Session.send` and its like,
 * except where said. None of them may throw.
 */
export abstract class Stream implements Expiring {
  /** The wire's id; 0 until a slot is taken. */
  id = 0;
  /** Whether this end opened it. */
  readonly opener: boolean;
  /** It waits for a slot. */
  waiting = false;
  /** The how many'th OPEN on its session, counted from 1. */
  ordinal = 0;

  // What is still to be sent, in this order.
  opening: Opening | undefined = undefined;
  /** An encoded message, or the rest of one: `out[outPosition..outEnd)`. */
  out: Uint8Array | undefined = undefined;
  outPosition = 0;
  outEnd = 0;
  /** Its first fragment has been sent. */
  outStarted = false;
  /** Its whole length has been taken of the peer's reassembly budget. */
  outBudgeted = false;
  outTotal = 0;
  /** The acceptor's headers (a metadata block), until they have been committed; they go first. */
  headersPending: Uint8Array | undefined = undefined;
  /** The acceptor's end. */
  ending: Ending | undefined = undefined;
  /** The opener's end is to follow what is pending (as a flag of its last frame, or as an END). */
  lastPending = false;

  /** END (or LAST) or RESET has been committed. */
  sentEnd = false;
  sentReset = false;
  /** END (or LAST) or RESET has arrived. */
  receivedEnd = false;
  receivedHeaders = false;
  /** Bytes that the peer allows to be sent, and that the peer may still send. */
  sendWindow = 0;
  receiveWindow = 0;

  // Control output: state, not a queue.
  /** Credit earned by consumption and not yet given. Below zero while whole messages that were credited in part wait. */
  creditOwed = 0;
  resetPending = false;
  resetCode: Status = 0;
  resetText = "";
  resetNotRun = false;
  controlQueued = false;
  controlNext: Stream | undefined = undefined;

  // The session's queue of streams that have something to send.
  sendQueued = false;
  sendNext: Stream | undefined = undefined;
  /** Waits for credit of its own (a CREDIT for this stream queues it again). */
  starved = false;
  /** How much credit it waits for, its own or the connection's. */
  starvedFor = 0;

  /** Its user takes `bytes` fields of 64 KiB and more as views that end (`LargeFrame.lend`), where there are any. */
  lends = false;

  // A message that has arrived in part.
  partial: Uint8Array | undefined = undefined;
  partialTotal = 0;
  partialLength = 0;
  /** What its frames cost, all in all. */
  partialCost = 0;
  /** It has its share of the reassembly budget. */
  partialAdmitted = false;

  /** Cost of whole messages that have been delivered and not consumed: returned to the connection if the stream ends. */
  unconsumed = 0;

  expireAt = 0;
  timerList: TimerList | undefined = undefined;
  timerNext: Expiring | undefined = undefined;
  timerPrevious: Expiring | undefined = undefined;

  constructor(
    readonly session: Session,
    opener: boolean,
    /** Decodes what the peer sends on this stream. */
    readonly inputCodec: MessageCodec<unknown>,
    /** The longest message taken on this stream, in bytes. */
    readonly maxMessageBytes: number,
  ) {
    this.opener = opener;
  }

  /** The peer's headers (opener only; at most once, before any message). */
  abstract onHeaders(metadata: Metadata): void;
  /**
   * A whole message. `session.consume(this, cost)` must follow when its consumer has taken it, and `loan.release()` when its
   * consumer is done with it.
   */
  abstract onMessage(message: unknown, cost: number, loan: LargeFrame | undefined): void;
  /** The opener sends no more (acceptor only). */
  abstract onHalfClose(): void;
  /** The acceptor has ended the call (opener only). Nothing follows. */
  abstract onStatus(ending: Ending): void;
  /** The stream ended early: the peer reset it, its connection was lost, or what it sent cannot be taken. Nothing follows. */
  abstract onFailure(code: Status, text: string, mayHaveRun: boolean, cause?: unknown): void;
  /** What `session.send` could not send at once has been sent: there is room for another message. */
  abstract onSendable(): void;
  abstract onDeadline(): void;
}
