import type { MessageCodec } from "./definition.js";
import type { ErrorDetail } from "./error.js";
import type { Metadata } from "./metadata.js";
import type { Session } from "./session.js";
import { Status } from "./status.js";
import type { Deadline, Expiring } from "./timer-wheel.js";
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

/** The end of a call that went well, with nothing more to say. */
export const OK: Ending = { code: Status.OK, text: "", details: [], trailers: undefined };

/** How many objects of calls a session keeps for others, at either end. */
const MAX_SPARE_CALLS = 256;

/** An early end that the peer has still to be told of. */
export interface Reset {
  readonly code: Status;
  readonly text: string;
  /** The call certainly did not run. */
  readonly notRun: boolean;
}

/** An encoded message that could not be sent at once, or the rest of it: `bytes[position..length)`. */
export class OutgoingMessage {
  /** Above 0 once its first fragment has been sent. */
  position = 0;
  /** It is sent in fragments, and its whole length has been taken of the peer's reassembly budget. */
  begun = false;
  /** It waits for its turn to be sent in fragments. */
  waiting = false;

  constructor(
    readonly bytes: Uint8Array,
    readonly length: number,
  ) {}
}

/** A message that has arrived in part. */
export class PartialMessage {
  /** How much of it has come, and what its frames cost. */
  length = 0;
  cost = 0;

  constructor(
    /** As long as the whole. */
    readonly bytes: Uint8Array,
  ) {}
}

/** What is so of a stream: bits of one number, since each field of its own would take 8 bytes of every call. */
export const enum Mark {
  /** This end opened it. */
  Opener = 1 << 0,
  /** It waits for a slot. */
  WaitsForSlot = 1 << 1,
  /** It is in the session's queue of streams that have something to send. */
  SendQueued = 1 << 2,
  /** It waits for credit of its own (a CREDIT for this stream queues it again). */
  Starved = 1 << 3,
  /** The opener's end is to follow what is pending (as a flag of its last frame, or as an END). */
  LastPending = 1 << 4,
  /** A RESET is pending. */
  ResetPending = 1 << 5,
  /** END (or LAST) or RESET has been committed. */
  SentEnd = 1 << 6,
  /** RESET has. */
  SentReset = 1 << 7,
  ReceivedHeaders = 1 << 8,
  /** END (or LAST) or RESET has arrived. */
  ReceivedEnd = 1 << 9,
  /** Its user takes `bytes` fields of 64 KiB and more as views that end (`LargeFrame.lend`), where there are any. */
  Lends = 1 << 10,

  // Of the subclasses.
  /** The acceptor's headers can be changed no more. */
  HeadersDone = 1 << 11,
  /** Nothing of the acceptor's response can be changed any more. */
  ResponseDone = 1 << 12,
  /** The handler has been started. */
  Started = 1 << 13,
  /** The caller has been told how the call ended; the handler has settled. */
  Settled = 1 << 14,

  /** It has been in one of the session's queues, some of which refer to it for longer than it lasts. */
  WasQueued = 1 << 15,
}

/**
 * One call on one session: the state that the session keeps of it, and what the session tells it. The fields belong to
 * the session; subclasses (the two sides of calls in `client-call.ts` and `server-call.ts`) use its methods. All `on...` methods
 * are called from the session's own turn (a frame, room, a timer), never from inside `Session.send` and its like,
 * except where said. None of them may throw.
 *
 * There is one of these for each call at each end, and most last for one frame each way: what few calls need is in objects of
 * its own, here or in the session. A unary call that both sides have ended is used again for another of its session (`onReleased`).
 */
export abstract class Stream implements Expiring {
  /** The wire's id, as a signed number: V8 keeps no larger ones in a field without memory of their own. 0 until a slot is taken. */
  id = 0;
  #marks: number;

  // What is still to be sent, in this order.
  opening: Opening | undefined = undefined;
  /** The acceptor's headers (a metadata block), until they have been committed; they go first. */
  headersPending: Uint8Array | undefined = undefined;
  outgoing: OutgoingMessage | undefined = undefined;
  /** The acceptor's end. */
  ending: Ending | undefined = undefined;

  /** What has come of a message that is not whole yet. */
  incoming: PartialMessage | undefined = undefined;

  /** Bytes that the peer allows to be sent, and that the peer may still send. */
  sendWindow = 0;
  receiveWindow = 0;
  /** Cost of whole messages that have been delivered and not consumed: returned to the connection if the stream ends. */
  unconsumed = 0;
  /** How much credit it waits for, its own or the connection's. */
  starvedFor = 0;
  /** The next in the session's queue of streams that have something to send. */
  sendNext: Stream | undefined = undefined;

  deadline: Deadline | undefined = undefined;
  /** That of an earlier call of this object, for the next that has one. */
  #spareDeadline: Deadline | undefined = undefined;

  constructor(
    readonly session: Session,
    marks: number,
  ) {
    this.#marks = marks;
  }

  /** Whether it ended in order, and neither the session nor its queues refer to it any more: a deadline is forgotten with either end. */
  get isReleased(): boolean {
    const ended = Mark.SentEnd | Mark.ReceivedEnd | Mark.Settled;
    const watched = ended | Mark.WasQueued | Mark.SentReset | Mark.ResetPending;
    return (this.#marks & watched) === ended && this.incoming === undefined;
  }

  /** Be nobody's, until `renew`: one of `spares`, if they are not too many. Whether it is. */
  protected retireTo(spares: Stream[]): boolean {
    if (spares.length >= MAX_SPARE_CALLS) return false;
    this.#marks = Mark.WasQueued;
    if (this.deadline !== undefined) {
      this.#spareDeadline = this.deadline;
      this.deadline = undefined;
    }
    spares.push(this);
    return true;
  }

  /** Be a call that begins, after one that was over and `isReleased`. */
  protected renew(marks: number): void {
    this.#marks = marks;
    this.id = 0;
  }

  /** Have `onDeadline` called at this time, on the session's clock, unless either end comes before. */
  expireAt(time: number): void {
    this.deadline = this.session.wheel.add(this, time, this.#spareDeadline);
  }

  /** Whether its OPEN has been committed: the peer may hear of it. */
  get wasOpened(): boolean {
    return this.id !== 0 && this.opening === undefined;
  }

  /** Whether any of `marks` is so. */
  is(marks: number): boolean {
    return (this.#marks & marks) !== 0;
  }

  mark(marks: number): void {
    this.#marks |= marks;
  }

  unmark(marks: number): void {
    this.#marks &= ~marks;
  }

  /** Decodes what the peer sends on this stream. */
  abstract get inputCodec(): MessageCodec<unknown>;
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
  /** It `isReleased`, and the session is done with the last frame: it does not use this object again. */
  onReleased(): void {}
}
