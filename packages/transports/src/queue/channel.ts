import type { ProcessWatch } from "@sluice/native";
import { LINGER_MS } from "../stream/connection.js";
import {
  END as SLAB_END,
  START,
  type ByteChannel,
  type ByteChannelHandler,
  type WriteSlab,
} from "../stream/channel.js";
import { giveSlab, nextId, readSlab, takeSlab } from "../stream/slabs.js";
import type { Inbound } from "./inbound.js";
import type { OpenQueue } from "./kind.js";
import { DATA, END, GRANT, HEADER_BYTES, LAST, makeHeader, type Destination } from "./message.js";
import type { Share } from "./slots.js";

/** A queue to send to. */
export interface Outbound extends OpenQueue {
  /** Called when there may be room again. */
  onRoom: () => void;
  close(): void;
  /** Removes what is left of a peer that has died. */
  tidy(): void;
}

const NOTHING = new Uint8Array(0);

let scheduled: QueueChannel[] = [];

// What was sent in the turn that ends the process goes out, too, as far as there is room; before the queues are closed.
process.prependListener("exit", () => {
  for (const channel of scheduled) channel.flush();
});

function runScheduled(): void {
  const channels = scheduled;
  scheduled = [];
  for (const channel of channels) channel.turn();
}

/** How far `count` is ahead of `other`. Both count modulo 2^32, and are less than 2^31 apart. */
function ahead(count: number, other: number): number {
  return (count - other) | 0;
}

/**
 * One end of a connection's stream of bytes, in messages: those of one turn of the event loop go packed into as few as
 * hold them. It sends no more than the peer has granted, and says in each message what it grants the peer in turn: as
 * `limit`, how many slots the peer may have used since the connection began.
 *
 * What takes no slots can always be sent, since there is at most one of each kind in the queue, for which room is kept:
 * END, and GRANT. Another GRANT follows only when the peer has used what the one before granted, so has received it.
 */
export class QueueChannel implements ByteChannel {
  readonly id = nextId();
  /** What a message to this end must say of itself. */
  readonly self: Destination;
  readonly #peer: Destination;
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  readonly #share: Share;
  #handler: ByteChannelHandler | undefined;
  #watch: ProcessWatch | undefined;

  /** How many slots were used in the peer's queue, and how many may be. */
  #used = 0;
  #allowed: number;
  #slab: WriteSlab | undefined;
  #wanted = false;
  #ending = false;
  #endSent = false;
  #awaitsRoom = false;
  /** The peer's queue takes nothing any more. */
  #broken = false;
  /** Whether there was no room for the LAST that shows where what the peer has sent ends. It is made each turn. */
  #lastUnsent = false;
  #lingering: NodeJS.Timeout | undefined;

  /** How many slots the peer has used, how many it was told that it may use, and how many the last GRANT found it told. */
  #received = 0;
  #granted: number;
  #grantedBefore: number;
  #wants = 0;
  /** Where the bytes end that wait in the slab for `pass`, and how many of them are carried over. */
  #filled = 0;
  #carried = 0;
  #early: Uint8Array[] = [];
  #started = false;
  #referenced = true;
  #peerEnded = false;
  #scheduled = false;
  #closed = false;

  /** `allowed` is what the peer has granted in the handshake. Registers itself with `inbound`. */
  constructor(
    self: Destination,
    peer: Destination,
    outbound: Outbound,
    inbound: Inbound,
    share: Share,
    allowed: number,
  ) {
    this.self = self;
    this.#peer = peer;
    this.#outbound = outbound;
    this.#inbound = inbound;
    this.#share = share;
    this.#allowed = allowed;
    this.#granted = share.base;
    this.#grantedBefore = -1;
    outbound.onRoom = () => this.#onRoom();
    // A worker thread may be terminated without a word, in a process that lives on.
    outbound.queue.setLastWords(makeHeader(peer, END, 0, 0));
    inbound.add(this);
  }

  /** Names whom to tell; before `start`. */
  open(handler: ByteChannelHandler): this {
    this.#handler = handler;
    return this;
  }

  /** Once, when the peer is heard of for the first time. */
  whenConfirmed: (() => void) | undefined;

  /** Ends with the process that `watch` tells of, which is closed with this channel. */
  set watch(watch: ProcessWatch | undefined) {
    this.#watch = watch;
  }

  start(): void {
    this.#started = true;
    this.#inbound.keepAlive(this, this.#referenced);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (scheduled.push(this) === 1) setImmediate(runScheduled);
  }

  /** @private At the end of a turn of the event loop: sends and tells what there is. */
  turn(): void {
    this.#scheduled = false;
    if (this.#closed) return;
    if (this.#lastUnsent) this.onPeerGone();
    if (this.#started && this.#early.length > 0) this.#deliverEarly();
    if (this.#started && this.#peerEnded) return this.#handler!.onEnd();
    this.#write();
    this.#tellGrant();
    if (this.#wanted && this.#slab === undefined) {
      this.#wanted = false;
      this.#handler!.onWritable();
    }
  }

  // Sending

  acquire(): WriteSlab {
    this.#schedule();
    return (this.#slab = takeSlab(this.id));
  }

  flush(): void {
    this.#write();
    if (this.#wanted && this.#slab === undefined) this.#schedule();
  }

  wantWritable(): void {
    this.#wanted = true;
    if (this.#slab === undefined) this.#schedule();
  }

  shutdownWrite(): void {
    this.#ending = true;
    this.#schedule();
  }

  #write(): void {
    const { messageBytes, slotBytes } = this.#outbound;
    const slab = this.#slab;
    if (slab !== undefined && !this.#awaitsRoom && !this.#broken) {
      const { memory, words } = slab;
      const end = words[SLAB_END]!;
      for (let start = words[START]!; start < end; words[START] = start) {
        const slots = ahead(this.#allowed, this.#used);
        if (slots <= 0) return;
        const length = Math.min(end - start, messageBytes - HEADER_BYTES, slots * slotBytes - HEADER_BYTES);
        const next = start + length;
        const wants = Math.ceil((end - next) / Math.min(slotBytes, messageBytes - HEADER_BYTES));
        if (!this.#send(DATA, wants, memory, start, next)) return;
        this.#used = (this.#used + Math.ceil((HEADER_BYTES + length) / slotBytes)) >>> 0;
        start = next;
      }
      giveSlab(slab);
      this.#slab = undefined;
    }
    if (this.#ending && !this.#endSent && this.#slab === undefined) this.#sendEnd();
  }

  #sendEnd(): void {
    if (!this.#send(END, 0)) return;
    this.#endSent = true;
    this.#outbound.queue.setLastWords(NOTHING);
  }

  /** False when the queue is full, though the peer has granted room in it: then others have sent what was not theirs to send. */
  #send(kind: number, wants: number, memory: Uint8Array = NOTHING, start = 0, end = 0): boolean {
    if (this.#awaitsRoom || this.#broken) return false;
    const limit = this.#grant();
    try {
      if (this.#outbound.queue.send(makeHeader(this.#peer, kind, limit, wants), memory, start, end)) {
        this.#granted = limit;
        return true;
      }
      this.#awaitsRoom = true;
      this.#outbound.queue.awaitRoom();
    } catch {
      // Its queue is gone, and so is the peer. What it has sent before is still to be received.
      this.#broken = true;
      this.onPeerGone();
    }
    return false;
  }

  #onRoom(): void {
    this.#awaitsRoom = false;
    if (this.#closed) this.#finish();
    else this.turn();
  }

  // Granting

  /** What the peer may have used in all, from now on. */
  #grant(): number {
    // What is not consumed yet is not granted again, so that it need not be kept here without bound.
    if (!this.#started || this.#closed) return this.#granted;
    const slots = this.#share.grant(ahead(this.#granted, this.#received), this.#wants);
    return (this.#received + slots) >>> 0;
  }

  /** Says what is granted in a message of its own, if the peer may be waiting for it. */
  #tellGrant(): void {
    const left = ahead(this.#granted, this.#received);
    if (left > this.#share.base >> 1 && this.#wants <= left) return;
    if (ahead(this.#received, this.#grantedBefore) <= 0) return;
    const before = this.#granted;
    if (ahead(this.#grant(), before) > 0 && this.#send(GRANT, 0)) this.#grantedBefore = before;
  }

  /** Shows the peer that its messages arrive here. */
  confirm(): void {
    this.#send(GRANT, 0);
  }

  // Receiving: called by the inbound queue

  /** One message, `memory[start..end)` behind its header. */
  take(kind: number, limit: number, wants: number, memory: Uint8Array, start: number, end: number): void {
    if (this.#closed) return;
    if (kind === LAST) {
      this.#peerEnded = true;
      return;
    }
    if (this.whenConfirmed !== undefined) {
      this.whenConfirmed();
      this.whenConfirmed = undefined;
    }
    if (ahead(limit, this.#allowed) > 0) {
      this.#allowed = limit;
      if (this.#slab !== undefined) this.#schedule();
    }
    if (kind === END) this.#peerEnded = true;
    if (kind !== DATA || this.#peerEnded) return;
    this.#wants = wants;
    this.#received =
      (this.#received + Math.ceil((HEADER_BYTES + end - start) / this.#inbound.slotBytes)) >>> 0;
    if (ahead(this.#received, this.#granted) > 0) {
      return this.#handler?.onError(new Error("the peer has sent more than it was granted"));
    }
    this.#schedule();
    if (!this.#started || this.#early.length > 0) this.#early.push(memory.slice(start, end));
    else this.#fill(memory, start, end);
  }

  #fill(memory: Uint8Array, start: number, end: number): void {
    if (this.#filled + end - start > readSlab.length) this.#read();
    readSlab.set(memory.subarray(start, end), this.#filled);
    this.#filled += end - start;
  }

  /** Hands over what `take` has gathered, before anything else uses the slab. */
  pass(): void {
    this.#read();
    if (this.#peerEnded && this.#started && !this.#closed) this.#handler!.onEnd();
  }

  #read(): void {
    if (this.#filled > this.#carried && !this.#closed) this.#carried = this.#handler!.onRead(this.#filled);
    this.#filled = this.#carried;
  }

  #deliverEarly(): void {
    const early = this.#early;
    this.#early = [];
    for (const bytes of early) this.#fill(bytes, 0, bytes.length);
    this.#read();
  }

  // Ending

  /** The peer's process has ended. */
  onPeerDeath(): void {
    this.#outbound.tidy();
    this.onPeerGone();
  }

  /** The peer's process is gone, or its queue. Ends the channel behind what the peer had sent. */
  onPeerGone(): void {
    if (this.#closed) return;
    this.#broken = true;
    const sent = this.#inbound.send(makeHeader(this.self, LAST, 0, 0));
    this.#lastUnsent = sent === false;
    if (sent === undefined) this.onNothingMore();
    else if (!sent) this.#schedule();
  }

  /** Nothing can be received any more: somebody has removed this end's queue. */
  onNothingMore(): void {
    this.#peerEnded = true;
    this.#schedule();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#slab !== undefined) giveSlab(this.#slab);
    this.#slab = undefined;
    this.#early = [];
    this.#watch?.close();
    this.#share.release();
    this.#inbound.remove(this);
    this.#finish();
  }

  /** Tells the peer of the end, if it does not know, and leaves its queue. */
  #finish(): void {
    if (!this.#endSent) this.#sendEnd();
    if (this.#awaitsRoom) {
      this.#lingering ??= setTimeout(() => this.#outbound.close(), LINGER_MS);
      return;
    }
    clearTimeout(this.#lingering);
    this.#outbound.close();
  }

  ref(): void {
    this.#setReference(true);
  }

  unref(): void {
    this.#setReference(false);
  }

  #setReference(on: boolean): void {
    this.#referenced = on;
    if (this.#started && !this.#closed) this.#inbound.keepAlive(this, on);
  }
}
