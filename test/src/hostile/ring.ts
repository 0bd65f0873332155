/**
 * Rings in shared memory as a peer sees them who keeps to no rule. Made from the layout and the protocol that
 * docs/shared-memory.md states; nothing here is shared with the implementation that it tests.
 */
import { Duplex } from "node:stream";
import {
  native,
  type ByteChannel,
  type Native,
  type Segment,
  type SegmentKind,
  type SocketListener,
} from "@sluice/native";
import { within } from "../within.js";

export const SEGMENT_MAGIC = 0x52474c53;
export const SEGMENT_VERSION = 3;
export const SETUP_BYTES = 24;
const HEADER_BYTES = 4096;
const KINDS: readonly SegmentKind[] = ["memfd", "posix", "sysv", "file"];

/** The server writes ring 0, the client ring 1. */
export type Side = 0 | 1;

/** Byte offsets of the words that the peers share, by the ring or the endpoint that they are of. */
export const Word = {
  head: (ring: Side) => 512 + ring * 1024,
  tail: (ring: Side) => 640 + ring * 1024,
  sleeping: (side: Side) => 2560 + side * 512,
  waiting: (side: Side) => 2688 + side * 512,
  semaphore: (side: Side) => 2816 + side * 512,
  block: (ring: Side, block: number) => 3584 + ring * 256 + block * 16,
} as const;

export const ASLEEP_ON_SOCKET = 1;

/** How many blocks each side writes, where there are any, and what a record that tells of one begins with. */
export const BLOCKS = 16;
export const BLOCK_RECORD = 0x8000_0000;

/** The addon, without which there are no rings. */
export function addon(): Native {
  if (native === undefined) throw new Error("rings need the addon");
  return native;
}

/** The path of the control socket of `shm:/PATH` or `mmap:PATH`. */
export function controlPath(address: string): string {
  return address.slice(address.indexOf(":") + 1);
}

const padded = (bytes: number) => (bytes + 7) & ~7;

/** A control socket: bells both ways, and news of the peer's end. */
export class Doorbell {
  onBell: () => void = () => {};
  onEnd: () => void = () => {};
  /** What came before the bells. */
  received: Buffer = Buffer.alloc(0);
  readonly descriptors: number[] = [];
  readonly channel: ByteChannel;
  ended = false;
  #finished = false;
  #onSetup: (() => void) | undefined;

  /** Takes `fd` over. */
  constructor(fd: number, maxDescriptors: number) {
    const handler = {
      onDescriptors: (fds: number[]) => void this.descriptors.push(...fds),
      onRead: (end: number) => {
        if (this.received.length < SETUP_BYTES) {
          this.received = Buffer.concat([this.received, addon().readSlab.subarray(0, end)]);
          this.#onSetup?.();
        } else this.onBell();
        return 0;
      },
      onWritable() {},
      onEnd: () => this.#end(),
      onError: () => this.#end(),
    };
    this.channel = new (addon().ByteChannel)(fd, fd, handler, { maxDescriptors });
    this.channel.start();
  }

  #end(): void {
    this.ended = true;
    this.#onSetup?.();
    this.onEnd();
  }

  /** Resolves when the server's message is there. */
  async setup(): Promise<void> {
    const arrived = new Promise<void>((resolve, reject) => {
      this.#onSetup = () => {
        if (this.received.length >= SETUP_BYTES) resolve();
        else if (this.ended)
          reject(new Error("the server closed the control socket before it sent a segment"));
      };
      this.#onSetup();
    });
    await within(10_000, arrived, "the server's segment");
  }

  /** Nothing can be sent once this side has said that it ends. */
  ring(bytes = 1): void {
    if (!this.ended && !this.#finished) this.write(Buffer.alloc(bytes));
  }

  finish(): void {
    this.#finished = true;
    this.channel.shutdownWrite();
  }

  write(bytes: Uint8Array): void {
    const slab = this.channel.acquire();
    slab.memory.set(bytes, slab.words[1]!);
    slab.words[1]! += bytes.length;
    this.channel.flush();
  }

  close(): void {
    this.channel.close();
    for (const fd of this.descriptors.splice(0)) addon().closeFd(fd);
  }
}

/** Begin a connection at a control socket. */
export function dial(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    new (addon().SocketConnector)({ path }, { onConnect: resolve, onError: reject });
  });
}

/** A mapped segment, and one side's positions in it. */
export class Ring {
  readonly words: Int32Array;
  readonly bytes: Buffer;
  readonly peer: Side;
  head = 0;
  tail = 0;
  #blocks: Buffer | undefined;

  constructor(
    readonly segment: Segment,
    readonly capacity: number,
    readonly side: Side,
    readonly blockBytes = 0,
  ) {
    this.words = new Int32Array(segment.buffer);
    this.bytes = Buffer.from(segment.buffer);
    this.peer = side === 0 ? 1 : 0;
  }

  load(offset: number): number {
    return Atomics.load(this.words, offset >> 2) >>> 0;
  }

  store(offset: number, value: number): void {
    Atomics.store(this.words, offset >> 2, value | 0);
  }

  /** Where in the segment the record at a position of a ring is. */
  at(ring: Side, position: number): number {
    return HEADER_BYTES + ring * 2 * this.capacity + (position & (this.capacity - 1));
  }

  /** Memory of the blocks, if there are any. */
  get blocks(): Buffer {
    return (this.#blocks ??= Buffer.from(
      this.segment.lend(this.segment.buffer.byteLength, 2 * BLOCKS * this.blockBytes),
    ));
  }

  /** Where in `blocks` one is that `writer` writes. */
  blockAt(writer: Side, block: number): number {
    return (writer * BLOCKS + block) * this.blockBytes;
  }

  /** Put a frame into a block, and write the record that tells of it. */
  writeBlock(block: number, frame: Buffer): void {
    frame.copy(this.blocks, this.blockAt(this.side, block));
    this.store(Word.block(this.side, block), 1);
    this.tellOfBlock(block, frame.length);
  }

  tellOfBlock(block: number, bytes: number): void {
    const record = Buffer.alloc(8);
    record.writeUInt32LE((BLOCK_RECORD | block) >>> 0, 0);
    record.writeUInt32LE(bytes >>> 0, 4);
    this.write(record);
  }

  get room(): number {
    return this.capacity - ((this.head - this.load(Word.tail(this.side))) >>> 0);
  }

  get unread(): number {
    const unread = (this.load(Word.head(this.peer)) - this.tail) >>> 0;
    // Zeroes, where the segment has been truncated.
    return this.segment.fault[0] === 0 ? unread : 0;
  }

  /** The first store of a publish: the record, where the peer does not look yet. */
  write(record: Buffer): void {
    record.copy(this.bytes, this.at(this.side, this.head));
    this.head = (this.head + padded(record.length)) >>> 0;
  }

  /** The second: from now on the peer may take what was written. */
  publish(): void {
    this.store(Word.head(this.side), this.head);
  }

  /** The third, if it is needed: true when the peer slept, and waits for a bell now. */
  rouse(): boolean {
    return Atomics.exchange(this.words, Word.sleeping(this.peer) >> 2, 0) !== 0;
  }

  /** The next frame, if there is one, and whether the peer must be rung for the room. */
  take(): { frame: Buffer; ring: boolean } | undefined {
    const unread = this.unread;
    if (unread === 0) return undefined;
    const at = this.at(this.peer, this.tail);
    const bytes = 12 + this.bytes.readUInt32LE(at);
    if (padded(bytes) > unread)
      throw new Error(`the victim published a frame of ${bytes} bytes in ${unread}`);
    const frame = Buffer.from(this.bytes.subarray(at, at + bytes));
    this.tail = (this.tail + padded(bytes)) >>> 0;
    this.store(Word.tail(this.peer), this.tail);
    const wanted = this.load(Word.waiting(this.peer));
    return { frame, ring: wanted !== 0 && this.capacity - this.unread >= wanted && this.rouse() };
  }
}

/** A client's end of a connection by `shm:` or `mmap:`, mapped and silent. */
export class RingPeer {
  private constructor(
    readonly doorbell: Doorbell,
    readonly ring: Ring,
    readonly kind: SegmentKind,
    /** The segment's descriptor; -1 if it has none. The doorbell's. */
    readonly fd: number,
  ) {}

  static async connect(address: string): Promise<RingPeer> {
    const doorbell = new Doorbell(await dial(controlPath(address)), 1);
    try {
      await doorbell.setup();
      const setup = doorbell.received;
      if (setup.readUInt32LE(0) !== SEGMENT_MAGIC || setup.readUInt32LE(4) !== SEGMENT_VERSION) {
        throw new Error(`the server's message begins with ${setup.toString("hex")}`);
      }
      const kind = KINDS[setup.readUInt32LE(8) - 1];
      if (kind === undefined) throw new Error(`the server refuses: ${setup.toString("utf8", SETUP_BYTES)}`);
      const capacity = setup.readUInt32LE(12);
      const fd = doorbell.descriptors[0] ?? -1;
      const segment = new (addon().Segment)(
        kind,
        capacity,
        setup.readUInt32LE(20),
        kind === "sysv" ? setup.readInt32LE(16) : fd,
      );
      return new RingPeer(doorbell, new Ring(segment, capacity, 1, setup.readUInt32LE(20)), kind, fd);
    } catch (error) {
      doorbell.close();
      throw error;
    }
  }

  /** Send frames as a good client does, without waiting for room. */
  send(...frames: readonly Buffer[]): void {
    for (const frame of frames) this.ring.write(frame);
    this.ring.publish();
    if (this.ring.rouse()) this.doorbell.ring();
  }

  close(): void {
    this.doorbell.close();
    this.ring.segment.close();
  }
}

/**
 * Listens, and passes each client on to a server whose rings it maps too: both ends of these connections are good, and
 * somebody else writes to their memory.
 */
export class Interposer {
  /** The connections there are, oldest first. */
  readonly connections = new Set<Interposed>();
  readonly #listener: SocketListener;

  /** `path` is where it listens, `server` the address of who serves. */
  constructor(
    path: string,
    readonly server: string,
    onConnection: (connection: Interposed) => void = () => {},
  ) {
    const accept = async (fd: number): Promise<void> => {
      const client = new Doorbell(fd, 0);
      const connection = await Interposed.open(client, this.server).catch(() => client.close());
      if (connection === undefined) return;
      this.connections.add(connection);
      connection.onClose = () => void this.connections.delete(connection);
      onConnection(connection);
    };
    this.#listener = new (addon().SocketListener)(
      { path },
      {
        onConnection: (fd) => void accept(fd),
        onError(error) {
          throw error;
        },
      },
    );
  }

  /** The newest connection. */
  get last(): Interposed {
    const last = [...this.connections].at(-1);
    if (last === undefined) throw new Error("nobody is connected");
    return last;
  }

  close(): void {
    this.#listener.close();
    for (const connection of this.connections) connection.close();
  }
}

export class Interposed {
  onClose: () => void = () => {};
  closed = false;

  private constructor(
    readonly client: Doorbell,
    readonly server: RingPeer,
  ) {
    client.received = Buffer.alloc(SETUP_BYTES); // all that comes is bells
    server.doorbell.onBell = () => client.ring();
    server.doorbell.onEnd = () => this.close();
    client.onBell = () => server.doorbell.ring();
    client.onEnd = () => this.close();
  }

  /** Takes `client` over. */
  static async open(client: Doorbell, address: string): Promise<Interposed> {
    const server = await RingPeer.connect(address);
    const { received } = server.doorbell;
    if (server.fd < 0) client.write(received);
    else client.channel.sendDescriptors(received.subarray(0, SETUP_BYTES), [server.fd]);
    return new Interposed(client, server);
  }

  get ring(): Ring {
    return this.server.ring;
  }

  /** Wake both, whether they sleep or not. */
  ringBoth(): void {
    if (this.closed) return;
    this.client.ring();
    this.server.doorbell.ring();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.client.close();
    this.server.close();
    this.onClose();
  }
}

/** `bytes` cut into frames by the lengths in them; what is left at the end is a record of its own, right or wrong. */
function split(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  while (bytes.length >= 12) {
    const end = 12 + bytes.readUInt32LE(0);
    if (end > bytes.length) break;
    records.push(bytes.subarray(0, end));
    bytes = bytes.subarray(end);
  }
  if (bytes.length > 0) records.push(bytes);
  return records;
}

/** A connection by rings as a stream of bytes, for who makes his frames by hand. Reads and writes as a good client does. */
export class RingStream extends Duplex {
  readonly #peer: RingPeer;
  #records: Buffer[] = [];
  #written: (() => void) | undefined;
  #wanted = false;
  #working = false;

  constructor(peer: RingPeer) {
    super({ allowHalfOpen: false, highWaterMark: 64 << 10 });
    this.#peer = peer;
    peer.doorbell.onBell = () => this.#work();
    peer.doorbell.onEnd = () => this.#work();
    this.#work();
  }

  override _read(): void {
    this.#wanted = true;
    this.#work();
  }

  override _write(bytes: Buffer, _encoding: string, written: () => void): void {
    this.#records = split(bytes);
    this.#written = written;
    // Nothing is received here: an answer must not come before who has sent the question looks for it.
    if (this.#peer.doorbell.ended) this.#records = []; // nobody takes them any more
    if (!this.#working) this.#send();
  }

  override _final(finished: () => void): void {
    this.#peer.doorbell.finish();
    finished();
  }

  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    this.#peer.close();
    destroyed(error);
  }

  #work(): void {
    if (this.#working || this.destroyed) return;
    this.#working = true;
    const { ring, doorbell } = this.#peer;
    const sleeping = Word.sleeping(ring.side);
    try {
      do {
        ring.store(sleeping, 0);
        this.#receive();
        this.#send();
        if (!this.destroyed) ring.store(sleeping, ASLEEP_ON_SOCKET);
      } while (!this.destroyed && !doorbell.ended && this.#canWork());
    } finally {
      this.#working = false;
    }
    if (!doorbell.ended || this.destroyed) return;
    // Nobody takes what is unsent any more; what was published is still to be read.
    this.#records = [];
    this.#send();
    // A server that has hung up may publish yet, in answer to what it takes last, and can ring for it no more.
    while (this.#wanted && ring.unread > 0) this.#receive();
    if (ring.unread === 0) this.push(null);
  }

  #canWork(): boolean {
    const { ring } = this.#peer;
    const next = this.#records[0];
    return (this.#wanted && ring.unread > 0) || (next !== undefined && ring.room >= padded(next.length));
  }

  #receive(): void {
    const { ring, doorbell } = this.#peer;
    while (this.#wanted && !this.destroyed) {
      const taken = ring.take();
      if (taken === undefined) return;
      if (taken.ring) doorbell.ring();
      this.#wanted = this.push(taken.frame);
    }
  }

  #send(): void {
    const { ring } = this.#peer;
    const waiting = Word.waiting(ring.side);
    // Whoever is told that all of it is written may have more at once.
    while (this.#written !== undefined && !this.destroyed) {
      while (this.#records.length > 0) {
        const bytes = padded(this.#records[0]!.length);
        if (ring.room < bytes) {
          ring.store(waiting, bytes);
          if (ring.room < bytes) return;
        }
        this.#peer.send(this.#records.shift()!);
      }
      ring.store(waiting, 0);
      const written = this.#written;
      this.#written = undefined;
      written();
    }
  }
}
