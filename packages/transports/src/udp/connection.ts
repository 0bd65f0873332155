import {
  FRAME_HEADER_BYTES,
  RpcError,
  Status,
  type Connection,
  type ConnectionHandler,
  type Peer,
  type Traits,
} from "@sluice/core";
import { readU16, readU32, writeU16 } from "@sluice/core/bytes";
import { MAX_FRAME_BYTES, STALL_MS } from "../stream/connection.js";
import { Congestion } from "./congestion.js";
import { PathMtu } from "./path-mtu.js";
import {
  Chunk,
  CHUNK_HEADER_BYTES,
  Close,
  DATA_HEADER_BYTES,
  NUMBER_AT,
  PACKET_BYTES,
  Type,
  readU48,
  writeId,
  writeU48,
  type ConnectionId,
  type Parameters,
} from "./packet.js";
import type { PacketBatch } from "./packet-batch.js";
import { FORGED, type Protection } from "./protection.js";
import { ReceiveBuffer, type FrameSink } from "./receive-buffer.js";
import { ReceivedPackets } from "./received-packets.js";
import { MAX_ACK_DELAY_MS, RoundTrip } from "./rtt.js";
import { SendBuffer } from "./send-buffer.js";
import type { PacketSender, Route } from "./socket.js";
import { SentPackets, type SentPacket, type SentPacketsHandler } from "./sent-packets.js";

export const TRAITS: Traits = { maxFrameBytes: MAX_FRAME_BYTES, peerDeath: "carrier", reconnectable: true };

/**
 * How long after the last frame the peer is asked whether it is still there; then after twice as long, and so on, up to a quarter
 * of the idle time-out. Whoever was just spoken to is missed soon, and a connection that nobody uses costs nearly nothing.
 */
const FIRST_CHECK_MS = 100;
/** Packets that ask for an acknowledgement after a time-out (RFC 9002, section 6.2.4), or before the peer is given up. */
const PROBES = 2;
/** Packets that may wait for an acknowledgement of their own at the end of a turn of the event loop (RFC 9000, section 13.2.2). */
const UNACKNOWLEDGED_PACKETS = 2;
/** Time-outs after which a peer that takes nothing is not waited for when the connection is being closed. */
const STALL_TIMEOUTS = 16;
/** How long a peer that closes waits at most before it asks again whether this end has everything. */
const LONGEST_CLOSING_CHECK_MS = STALL_MS / 4;
/** For how many time-outs a peer that does not know yet that the connection is over is told so (RFC 9000, section 10.2). */
const LINGER_TIMEOUTS = 3;
/** As over streams: what a turn commits leaves in steps, so that the peer works on the first meanwhile. */
const STEP_BYTES = 64 * 1024;
/** The path is probed while more than this waits to be sent, which is more than may leave at once at first: so much gains by longer packets. */
const PROBE_UNSENT_BYTES = 10 * PACKET_BYTES;
/** What a packet has beside bytes of the stream at most: headers, an ACK chunk, the end, and what encryption adds. */
const OVERHEAD_BYTES = 128;
const NOTHING = new Uint8Array(0);

/** The ranges of the acknowledgement that is being read. */
const ranges: number[] = [];

const OPEN = 0;
/** An oversized frame came: the position in the stream is lost, so all further frames are ignored. Sending goes on. */
const DEAF = 1;
/** `close` was called: what was committed is being delivered, frames are ignored. */
const CLOSING = 2;
const CLOSED = 3;

/** The end of this direction: none, to be told, told, acknowledged. */
const NO_END = 0;
const END_DUE = 1;
const END_SENT = 2;
const END_ACKED = 3;

/** The endpoint as its connections see it. */
export interface Link extends PacketSender {
  /** Milliseconds on a monotonic clock. */
  now(): number;
  readonly batch: PacketBatch;
  /** How long a datagram to `route` is at most for this host to send it in one piece; 0 if that is not known. */
  largestDatagram(route: Route): number;
  /** Have `fill` called at the end of this turn of the event loop. */
  schedule(connection: UdpConnection): void;
  /** `connection.deadline` has come nearer: have `onDeadline` called then. */
  expectDeadline(connection: UdpConnection): void;
  /** The connection is over. For `lingerMs` its peer is answered with `parting`, should it still send. */
  release(connection: UdpConnection, parting: Uint8Array, lingerMs: number): void;
  setRef(connection: UdpConnection, on: boolean): void;
}

export interface UdpConnectionOptions {
  /** The number that this end chose, and the peer's. */
  readonly id: ConnectionId;
  readonly peerId: ConnectionId;
  readonly route: Route;
  readonly own: Parameters;
  readonly theirs: Parameters;
  readonly protection: Protection | undefined;
  readonly peer: Peer;
  /** How long the handshake's round trip took, if that is known. */
  readonly rttMs: number | undefined;
}

/**
 * Frames over datagrams. What is committed is a stream of bytes; packets carry pieces of it, as many frames as fit, and it is put
 * together again at the other end: docs/udp.md.
 *
 * Pure: it is given packets and the time, and gives packets and deadlines to its link.
 */
export class UdpConnection implements Connection, SentPacketsHandler {
  readonly traits = TRAITS;
  readonly peer: Peer;
  readonly id: ConnectionId;
  readonly route: Route;
  memory: Uint8Array = NOTHING;
  rangeStart = 0;
  /** Zero when nothing is reserved. */
  rangeEnd = 0;

  /** When `onDeadline` is to be called; Infinity for never. */
  deadline = Infinity;
  /** The link's own: whether `fill` is to be called, and the place in the queue of deadlines. */
  scheduled = false;
  queueIndex = -1;

  readonly #link: Link;
  readonly #peerId: ConnectionId;
  readonly #protection: Protection | undefined;
  readonly #tagBytes: number;
  readonly #idleTimeoutMs: number;
  readonly #rtt = new RoundTrip();
  readonly #congestion = new Congestion();
  readonly #pathMtu = new PathMtu(() => this.#link.largestDatagram(this.route));
  readonly #sent = new SentPackets(this.#congestion, this.#rtt, this);
  readonly #received = new ReceivedPackets();
  readonly #output = new SendBuffer();
  readonly #input: ReceiveBuffer;
  readonly #sink: FrameSink = (memory, start, end) => this.#onFrame(memory, start, end);

  #handler: ConnectionHandler | undefined;
  #state = OPEN;
  #end = NO_END;
  #nextNumber = 0;
  /** Up to where the peer takes the stream, and up to where it was last told that it may send. */
  #peerLimit: number;
  #toldLimit: number;
  /** Where the next step ends. */
  #stepEnd = STEP_BYTES;
  /** Whether `reserve` returned false since the last `onWritable`. */
  #blocked = false;

  /** Whether bytes of the packet that is being read were dropped, so that it is not acknowledged. */
  #dropped = false;
  /** Packets that arrived since an acknowledgement left, and when one must leave. */
  #unacknowledged = 0;
  #ackAt = Infinity;
  /** Time-outs since the peer last acknowledged something new. */
  #timeouts = 0;
  /** Packets to be sent whatever congestion control says. */
  #probes = 0;
  /** When pacing lets the next packet leave. */
  #paceAt = Infinity;
  /** When a packet of the peer arrived last. */
  #heardAt: number;
  /** When the peer, which was asked a last time after a long silence, counts as gone; Infinity before that. */
  #giveUpAt = Infinity;
  /** After how long a silence the peer is asked for a packet. */
  #checkMs = FIRST_CHECK_MS;
  /** When the peer last took some of the stream, or `close` was called. */
  #progressAt = 0;

  #error: Error | undefined;
  #told = false;

  constructor(link: Link, options: UdpConnectionOptions) {
    this.#link = link;
    this.peer = options.peer;
    this.id = options.id;
    this.route = options.route;
    this.#peerId = options.peerId;
    this.#protection = options.protection;
    this.#tagBytes = options.protection?.tagBytes ?? 0;
    this.#idleTimeoutMs = Math.min(options.own.idleTimeoutMs, options.theirs.idleTimeoutMs);
    this.#input = new ReceiveBuffer(options.own.windowBytes);
    this.#toldLimit = options.own.windowBytes;
    this.#peerLimit = options.theirs.windowBytes;
    this.#heardAt = link.now();
    if (options.rttMs !== undefined) this.#rtt.update(options.rttMs, 0);
  }

  start(handler: ConnectionHandler): void {
    if (this.#handler !== undefined) throw new Error("start was called twice on one connection");
    this.#handler = handler;
    queueMicrotask(() => (this.#state === CLOSED ? this.#notifyClosed() : this.#deliver()));
  }

  // Sending

  reserve(min: number): boolean {
    if (this.#state >= CLOSING) return false;
    const range = this.#output.reserve(min);
    if (range === undefined) {
      this.#blocked = true;
      return false;
    }
    this.memory = range.memory;
    this.rangeStart = range.at;
    this.rangeEnd = Math.min(range.at + MAX_FRAME_BYTES, range.memory.length);
    return true;
  }

  commit(used: number): void {
    if (this.rangeStart + used > this.rangeEnd) {
      throw new RangeError(`commit of ${used} bytes exceeds the reserved range`);
    }
    this.rangeEnd = 0;
    this.#output.commit(used);
    if (this.#state === CLOSED) return;
    this.#checkMs = FIRST_CHECK_MS;
    if (this.#output.end >= this.#stepEnd) this.flush();
    else this.#link.schedule(this);
  }

  cancel(): void {
    this.rangeEnd = 0;
    this.#output.commit(0);
  }

  flush(): void {
    this.#stepEnd = this.#output.end + STEP_BYTES;
    if (this.#state === CLOSED) return;
    this.fill(this.#link.now());
    this.#link.batch.send();
  }

  get unsentBytes(): number {
    return this.#state === CLOSED ? 0 : this.#output.unsent;
  }

  /** Has the peer hear of this end although there is nothing to send. */
  ping(): void {
    this.#probes = 1;
    this.#link.schedule(this);
  }

  /** Puts every packet that may leave now into the link's batch. */
  fill(now: number): void {
    if (this.#state === CLOSED) return;
    this.#paceAt = Infinity;
    for (; this.#probes > 0; this.#probes--) {
      if (!this.#output.ready(this.#peerLimit) && this.#sent.any) this.#repeat(this.#sent.oldest);
      // Longer ones may be what is lost.
      this.#write(now, PACKET_BYTES);
    }
    const congestion = this.#congestion;
    const { packetBytes } = this.#pathMtu;
    let probeBytes = this.#output.unsent > PROBE_UNSENT_BYTES ? this.#pathMtu.probe(now) : 0;
    // Later, when there is room for two packets of that length.
    if (2 * probeBytes > congestion.window) probeBytes = 0;
    while (this.#output.ready(this.#peerLimit) || this.#end === END_DUE) {
      const rest = this.#output.available(this.#peerLimit) + OVERHEAD_BYTES;
      const bytes = probeBytes || Math.min(packetBytes, Math.max(rest, PACKET_BYTES));
      if (congestion.inFlight + bytes > congestion.window) break;
      const releaseAt = congestion.releaseAt(bytes, now, this.#rtt);
      if (releaseAt > now) {
        this.#paceAt = releaseAt;
        break;
      }
      if (probeBytes > 0) {
        this.#writeProbe(now, probeBytes);
        probeBytes = 0;
      } else if (!this.#write(now, packetBytes)) break;
    }
    if (this.#unacknowledged >= UNACKNOWLEDGED_PACKETS || this.#ackAt <= now) this.#writeAck(now);
    this.#expect();
  }

  /**
   * A packet of up to `packetBytes` with as much of the stream as fits, and with the acknowledgement that is due. False if there was
   * nothing to say.
   */
  #write(now: number, packetBytes: number): boolean {
    const output = this.#output;
    const ready = output.ready(this.#peerLimit);
    const endDue = this.#end === END_DUE && output.next === output.end;
    // Such as when the end must wait for bytes that the peer has no room for.
    if (!ready && !endDue && this.#probes === 0) return false;
    const { batch } = this.#link;
    const start = batch.begin(this.#link, this.route, packetBytes);
    const { memory } = batch;
    const limit = start + packetBytes - this.#tagBytes;
    const payload = this.#writeHeader(memory, start);
    let at = this.#unacknowledged > 0 ? this.#writeAckChunk(memory, payload, now) : payload;
    let from = 0;
    let bytes = 0;
    if (ready) {
      const body = at + CHUNK_HEADER_BYTES;
      bytes = output.take(memory, body, limit - body, this.#peerLimit);
      from = output.start;
      memory[at] = Chunk.DATA;
      writeU16(memory, writeU48(memory, at + 1, from), bytes);
      at = body + bytes;
    }
    let last = false;
    if (this.#end === END_DUE && output.next === output.end && limit - at >= 7) {
      last = true;
      this.#end = END_SENT;
      memory[at] = Chunk.END;
      at = writeU48(memory, at + 1, output.end);
    }
    if (bytes === 0 && !last) memory[at++] = Chunk.PING;
    const length = this.#seal(memory, start, payload, at);
    batch.commit(length, length === packetBytes);
    this.#sent.add(this.#nextNumber++, length, from, from + bytes, last, now);
    return true;
  }

  /** A packet of `bytes` that asks whether the path carries so long a one. */
  #writeProbe(now: number, bytes: number): void {
    const { batch } = this.#link;
    const start = batch.begin(this.#link, this.route, bytes);
    const { memory } = batch;
    const payload = this.#writeHeader(memory, start);
    const end = start + bytes - this.#tagBytes;
    memory[payload] = Chunk.PING;
    memory[payload + 1] = Chunk.PADDING;
    memory.fill(0, payload + 2, end);
    batch.commit(this.#seal(memory, start, payload, end), false);
    this.#sent.addProbe(this.#nextNumber++, bytes, now);
    this.#pathMtu.onProbeSent();
  }

  /** A packet with an acknowledgement alone, which is not acknowledged itself. */
  #writeAck(now: number): void {
    const { batch } = this.#link;
    const start = batch.begin(this.#link, this.route, PACKET_BYTES);
    const payload = this.#writeHeader(batch.memory, start);
    const end = this.#writeAckChunk(batch.memory, payload, now);
    batch.commit(this.#seal(batch.memory, start, payload, end), false);
    this.#nextNumber++;
  }

  #writeHeader(memory: Uint8Array, start: number): number {
    memory[start] = Type.DATA;
    return writeU48(memory, writeId(memory, start + 1, this.#peerId), this.#nextNumber);
  }

  #writeAckChunk(memory: Uint8Array, at: number, now: number): number {
    this.#unacknowledged = 0;
    this.#ackAt = Infinity;
    this.#toldLimit = this.#input.limit;
    memory[at] = Chunk.ACK;
    return this.#received.write(memory, at + 1, now, this.#toldLimit);
  }

  /** Returns the packet's length. */
  #seal(memory: Uint8Array, start: number, payload: number, end: number): number {
    if (this.#protection === undefined) return end - start;
    return this.#protection.seal(memory, start, payload, end, this.#nextNumber) - start;
  }

  /** Sends what was in `packet` once more, whether or not it is lost. */
  #repeat(packet: SentPacket): void {
    this.#output.onLost(packet.start, packet.end);
    if (packet.last && this.#end === END_SENT) this.#end = END_DUE;
  }

  /**
   * The oldest packet goes again, and what the peer waits for with it, which may have left in a later packet: of all others the peer may drop
   * the bytes, if it has too many ranges of them.
   */
  #repeatAfterTimeout(): void {
    const { oldest } = this.#sent;
    const { base, next } = this.#output;
    if (oldest.start > base || oldest.end <= base) {
      this.#output.onLost(base, Math.min(base + PACKET_BYTES, next));
    }
    this.#repeat(oldest);
  }

  onAcked(packet: SentPacket, now: number): void {
    if (packet.probe) {
      this.#pathMtu.onProbeAcked(packet.bytes, now);
      return this.#congestion.resize(this.#pathMtu.packetBytes);
    }
    this.#pathMtu.onAcked(packet.bytes);
    this.#output.onAcked(packet.start, packet.end);
    if (packet.last) this.#end = END_ACKED;
  }

  onLost(packet: SentPacket, now: number): void {
    if (packet.probe) return this.#pathMtu.onProbeLost(packet.bytes, now);
    this.#pathMtu.onLost(packet.bytes, packet.sentAt, now);
    this.#congestion.resize(this.#pathMtu.packetBytes);
    this.#repeat(packet);
  }

  // Time

  /** Sets `deadline` to when the first of everything that waits for time is due. */
  #expect(): void {
    const deadline = Math.min(
      this.#ackAt,
      this.#paceAt,
      this.#sent.lossAt,
      this.#sent.any ? this.#timeoutAt : this.#checkAt,
      this.#deadAt,
      this.#stalledAt,
    );
    const nearer = deadline < this.deadline;
    this.deadline = deadline;
    if (nearer) this.#link.expectDeadline(this);
  }

  /** When packets under way are taken for lost if nothing is heard (RFC 9002, section 6.2.1). */
  get #timeoutAt(): number {
    const backedOff = this.#rtt.probeTimeout * 2 ** Math.min(this.#timeouts, 16);
    return (
      this.#sent.lastSentAt + Math.min(backedOff, Math.max(this.#rtt.probeTimeout, this.#longestCheckMs))
    );
  }

  get #longestCheckMs(): number {
    const longest = this.#idleTimeoutMs / 4;
    return this.#state === CLOSING ? Math.min(longest, LONGEST_CLOSING_CHECK_MS) : longest;
  }

  /** When the peer is asked whether it is still there, which does not matter once it has said everything. */
  get #checkAt(): number {
    return this.#input.whole ? Infinity : this.#heardAt + Math.min(this.#checkMs, this.#longestCheckMs);
  }

  /**
   * When the peer is asked a last time, after a long silence, and then, when it counts as gone. It may be this process that stood still: between
   * the two it reads what has come meanwhile.
   */
  get #deadAt(): number {
    if (this.#input.whole) return Infinity;
    return this.#giveUpAt === Infinity ? this.#heardAt + this.#idleTimeoutMs : this.#giveUpAt;
  }

  /** When `close` gives up a peer that takes nothing more. */
  get #stalledAt(): number {
    if (this.#state !== CLOSING) return Infinity;
    return this.#progressAt + Math.max(STALL_MS, STALL_TIMEOUTS * this.#rtt.probeTimeout);
  }

  /** Does what is due, as far as the link's batch; called by the link. */
  onDeadline(now: number): void {
    this.#onTime(now);
    this.fill(now);
  }

  #onTime(now: number): void {
    if (now >= this.#stalledAt) return this.#stall(now);
    if (now >= this.#deadAt) {
      if (this.#giveUpAt !== Infinity) {
        const silence = Math.round(now - this.#heardAt);
        return this.#break(`has been silent for ${silence} ms`);
      }
      this.#giveUpAt = now + this.#rtt.probeTimeout;
      this.#probes = PROBES;
    } else if (now >= this.#sent.lossAt) {
      this.#sent.detectLoss(now);
    } else if (this.#sent.any) {
      if (now < this.#timeoutAt) return;
      this.#timeouts++;
      this.#probes = PROBES;
      this.#repeatAfterTimeout();
    } else if (now >= this.#checkAt) {
      this.#checkMs = Math.min(2 * this.#checkMs, this.#longestCheckMs);
      this.#probes = 1;
    }
  }

  // Receiving

  /** A DATA packet for this connection: `memory[start..end)`. Whether it is the peer's: new, whole and authentic. */
  receive(memory: Uint8Array, start: number, end: number, now: number): boolean {
    if (this.#state === CLOSED || end - start < DATA_HEADER_BYTES) return false;
    const number = readU48(memory, start + NUMBER_AT);
    if (!this.#received.isNew(number)) return false;
    const at = start + DATA_HEADER_BYTES;
    if (this.#protection !== undefined) {
      end = this.#protection.open(memory, start, at, end, number);
      if (end === FORGED) return false;
    }
    this.#heardAt = now;
    this.#giveUpAt = Infinity;
    this.#dropped = false;
    const asks = this.#readChunks(memory, at, end, now);
    if (this.#ended) return true;
    // A packet of which bytes were dropped counts as lost; what else was in it does no harm a second time.
    const inOrder = !this.#dropped && this.#received.add(number, now);
    if (asks && !this.#dropped) {
      if (this.#unacknowledged++ === 0) this.#ackAt = now + MAX_ACK_DELAY_MS;
      // The sender can tell a loss from a delay by it (RFC 9000, section 13.2.1).
      if (!inOrder || this.#input.earlyRanges > 0) this.#ackAt = now;
    }
    this.#link.schedule(this);
    return true;
  }

  /** Whether the packet asks for an acknowledgement. */
  #readChunks(memory: Uint8Array, at: number, end: number, now: number): boolean {
    let asks = false;
    while (at < end && !this.#ended) {
      const type = memory[at++]!;
      if (type === Chunk.DATA) {
        if (end - at < CHUNK_HEADER_BYTES - 1) return this.#malformed("a DATA chunk is cut off");
        const offset = readU48(memory, at);
        const bytes = readU16(memory, at + 6);
        at += CHUNK_HEADER_BYTES - 1;
        if (end - at < bytes) return this.#malformed("a DATA chunk is cut off");
        if (offset + bytes > Math.min(this.#input.limit, this.#input.end)) {
          return this.#malformed(`byte ${offset + bytes} is beyond what it may send`);
        }
        asks = true;
        this.#take(offset, memory, at, at + bytes);
        at += bytes;
      } else if (type === Chunk.ACK) {
        at = this.#readAck(memory, at, end, now);
        if (at < 0) return false;
      } else if (type === Chunk.PING) {
        asks = true;
      } else if (type === Chunk.END) {
        if (end - at < 6) return this.#malformed("an END chunk is cut off");
        asks = true;
        if (!this.#input.finish(readU48(memory, at))) return this.#malformed("its stream has two ends");
        at += 6;
        this.#endIfComplete();
      } else if (type === Chunk.CLOSE) {
        if (end - at < 1) return this.#malformed("a CLOSE chunk is cut off");
        const ended = memory[at++] === Close.ENDED;
        // Who has closed in turn needs to know no more; everything that it sent was taken, or will not be.
        if (ended && this.#state === CLOSING) this.#finish(undefined);
        else this.#onPeerGone("gave it up");
      } else if (type === Chunk.PADDING) {
        at = end;
      } else {
        return this.#malformed(`there is no chunk of type ${type}`);
      }
    }
    return asks;
  }

  #take(offset: number, memory: Uint8Array, from: number, to: number): void {
    // Whoever closes ignores frames, and an end of the stream with them; so does who has lost its position.
    if (this.#state !== OPEN) return;
    this.#checkMs = FIRST_CHECK_MS;
    try {
      if (!this.#input.add(offset, memory, from, to, this.#handler && this.#sink)) this.#dropped = true;
    } catch (error) {
      return this.#fail(error);
    }
    this.#afterDelivery();
  }

  /** Delivers what came before the start. */
  #deliver(): void {
    if (this.#state !== OPEN) return;
    try {
      this.#input.drain(this.#sink);
    } catch (error) {
      return this.#fail(error);
    }
    this.#afterDelivery();
  }

  #afterDelivery(): void {
    if (this.#ended) return;
    // A peer that waits for room does not send, and would not be told by an acknowledgement.
    if (this.#input.limit - this.#toldLimit >= this.#input.windowBytes / 2 && this.#received.any) {
      this.#unacknowledged = UNACKNOWLEDGED_PACKETS;
      this.#link.schedule(this);
    }
    this.#endIfComplete();
  }

  #onFrame(memory: Uint8Array, start: number, end: number): boolean {
    if (end - start !== FRAME_HEADER_BYTES + readU32(memory, start)) this.#state = DEAF;
    this.#handler!.onFrame(memory, start, end);
    return this.#state === OPEN;
  }

  /** Returns where the next chunk begins, -1 if the connection is over. */
  #readAck(memory: Uint8Array, at: number, end: number, now: number): number {
    if (end - at < 17) return this.#malformedAck();
    const ackDelay = (readU16(memory, at + 6) * 8) / 1000;
    const limit = readU48(memory, at + 8);
    const count = memory[at + 14]!;
    let high = readU48(memory, at) + 1;
    let low = high - 1 - readU16(memory, at + 15);
    at += 17;
    if (end - at < 4 * count || low < 0 || high > this.#nextNumber) return this.#malformedAck();
    let words = 0;
    ranges[words++] = low;
    ranges[words++] = high;
    for (let index = 0; index < count; index++, at += 4) {
      high = low - readU16(memory, at);
      low = high - readU16(memory, at + 2);
      if (low < 0) return this.#malformedAck();
      ranges[words++] = low;
      ranges[words++] = high;
    }
    const { base } = this.#output;
    if (this.#sent.acknowledge(ranges, words, ackDelay, now)) this.#timeouts = 0;
    this.#peerLimit = Math.max(this.#peerLimit, limit);
    if (this.#output.base > base) this.#progressAt = now;
    if (this.#end === END_ACKED && this.#output.base === this.#output.end) {
      this.#finish(undefined);
      return -1;
    }
    this.#offerRoom();
    return this.#ended ? -1 : at;
  }

  #malformedAck(): number {
    this.#malformed("an ACK chunk names packets that were never sent, or is cut off");
    return -1;
  }

  #offerRoom(): void {
    if (!this.#blocked || this.#state >= CLOSING || !this.#output.hasRoom) return;
    this.#blocked = false;
    try {
      this.#handler?.onWritable();
    } catch (error) {
      this.#fail(error);
    }
  }

  // Ending

  /** Tells the peer where the stream ends, behind everything that was committed; ends when the peer has it all. */
  close(): void {
    if (this.#state >= CLOSING) return;
    this.#state = CLOSING;
    this.#end = END_DUE;
    this.#input.release();
    this.#progressAt = this.#link.now();
    this.#link.schedule(this);
  }

  destroy(error?: Error): void {
    if (this.#state === CLOSED) return;
    this.#leave(error, Close.DESTROYED);
    if (this.#handler !== undefined) queueMicrotask(() => this.#notifyClosed());
  }

  /** The server says, provably, that it does not know this connection. */
  onReset(): void {
    this.#onPeerGone("does not know it any more: it was started again, or gave it up");
  }

  /** The kernel says that the peer has no socket any more. */
  onRefused(): void {
    this.#onPeerGone("is gone: nobody listens there any more");
  }

  #onPeerGone(how: string): void {
    if (this.#ended) return;
    // It has sent everything, and this end has it all, but nobody has asked for it yet.
    if (this.#state !== CLOSING && this.#input.whole) return;
    if (this.#state === CLOSING && this.#output.base === this.#output.end) return this.#finish(undefined);
    this.#break(how);
  }

  #endIfComplete(): void {
    if (this.#state !== OPEN || !this.#input.complete || this.#handler === undefined) return;
    const error = this.#input.inFrame
      ? this.#unavailable("ended the connection inside a frame", "the peer at")
      : undefined;
    // The peer is closing: it could not tell a lost answer from a lost end of its stream.
    this.#finish(error, 2 * LONGEST_CLOSING_CHECK_MS);
  }

  #stall(now: number): void {
    const left = this.#output.end - this.#output.base;
    const stalled = `took none for ${Math.round(now - this.#progressAt)} ms`;
    this.#finish(
      left > 0
        ? this.#unavailable(stalled, `closed with ${left} bytes unacknowledged: the peer at`)
        : undefined,
    );
  }

  /** The peer broke a rule. */
  #malformed(how: string): false {
    this.#break(`broke the rules of the protocol: ${how}`);
    return false;
  }

  #break(how: string): void {
    this.#finish(this.#unavailable(`broke: the peer ${how}`, "the connection with"));
  }

  #unavailable(what: string, who: string): RpcError {
    return new RpcError(Status.UNAVAILABLE, `${who} ${this.peer.address} ${what}`);
  }

  /** Ends the connection from the event loop. The peer is told so for `lingerMs` at least. */
  #finish(error: Error | undefined, lingerMs = 0): void {
    this.#leave(error, error === undefined ? Close.ENDED : Close.DESTROYED, lingerMs);
    this.#notifyClosed();
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    this.#finish(error instanceof Error ? error : new Error(String(error)));
  }

  #leave(error: Error | undefined, how: number, lingerMs = 0): void {
    this.#state = CLOSED;
    this.#error = error;
    this.deadline = Infinity;
    const parting = this.#parting(how);
    this.#output.release();
    this.#input.release();
    this.#link.release(this, parting, Math.max(LINGER_TIMEOUTS * this.#rtt.probeTimeout, lingerMs));
  }

  /** The last packet. */
  #parting(how: number): Uint8Array {
    const memory = new Uint8Array(DATA_HEADER_BYTES + 2 + (this.#protection?.tagBytes ?? 0));
    const payload = this.#writeHeader(memory, 0);
    memory[payload] = Chunk.CLOSE;
    memory[payload + 1] = how;
    this.#seal(memory, 0, payload, payload + 2);
    return memory;
  }

  get #ended(): boolean {
    return this.#state === CLOSED;
  }

  #notifyClosed(): void {
    if (this.#told || this.#handler === undefined) return;
    this.#told = true;
    this.#handler.onClose(this.#error);
  }

  ref(): void {
    this.#link.setRef(this, true);
  }

  unref(): void {
    this.#link.setRef(this, false);
  }
}
