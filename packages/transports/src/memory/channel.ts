import { END, START, type ByteChannel, type ByteChannelHandler, type WriteSlab } from "../stream/channel.js";
import { giveSlab, nextId, readSlab, takeSlab } from "../stream/slabs.js";

/**
 * Work done in microtasks before what follows waits for the event loop to turn. Two ends that answer each other from microtasks would
 * otherwise keep every timer and socket of the process waiting for ever. Each delivery is one piece of it, and so is each `PIECE_BYTES` that
 * it carries: they may be hundreds of messages.
 */
const PIECES_PER_TURN = 128;
const PIECE_BYTES = 4096;

let pieces = 0;

function startTurn(): void {
  pieces = 0;
}

/** One end of a byte channel inside one thread. Its slab is copied into the other end's reading slab in a microtask. */
export class MemoryChannel implements ByteChannel {
  readonly id = nextId();
  #handler: ByteChannelHandler | undefined;
  #peer: MemoryChannel | undefined;
  #slab: WriteSlab | undefined;
  #started = false;
  #closed = false;
  /** Nothing more will be written. */
  #ended = false;
  #scheduled = false;
  #wanted = false;
  #carried = 0;
  readonly #deliver = (): void => this.#onTurn();

  static pair(): [MemoryChannel, MemoryChannel] {
    const one = new MemoryChannel();
    const other = new MemoryChannel();
    one.#peer = other;
    other.#peer = one;
    return [one, other];
  }

  /** Names whom to tell; before anything else. */
  open(handler: ByteChannelHandler): this {
    this.#handler = handler;
    return this;
  }

  start(): void {
    this.#started = true;
    this.#peer!.#schedule();
  }

  acquire(): WriteSlab {
    this.#schedule();
    return (this.#slab = takeSlab(this.id));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (pieces < PIECES_PER_TURN) queueMicrotask(this.#deliver);
    else setImmediate(this.#deliver);
  }

  flush(): void {
    this.#schedule();
  }

  #onTurn(): void {
    if (pieces++ === 0) setImmediate(startTurn);
    this.#scheduled = false;
    const peer = this.#peer!;
    if (!peer.#started && !peer.#closed) return;
    const slab = this.#slab;
    if (slab !== undefined && !this.#closed) {
      const { memory, words } = slab;
      // What is committed from here on waits for the next turn, so that this one ends.
      for (const end = words[END]!; words[START]! < end && this.#slab === slab;) {
        const start = words[START]!;
        const length = Math.min(end - start, readSlab.length - peer.#carried);
        words[START] = start + length;
        pieces += Math.floor(length / PIECE_BYTES);
        if (peer.#closed) continue;
        readSlab.set(memory.subarray(start, start + length), peer.#carried);
        peer.#carried = peer.#handler!.onRead(peer.#carried + length);
      }
      if (this.#slab === slab) {
        if (words[START] !== words[END]) this.#schedule();
        else this.#drained();
      }
    }
    if (this.#ended && this.#slab === undefined && !peer.#closed) peer.#handler!.onEnd();
  }

  #drained(): void {
    giveSlab(this.#slab!);
    this.#slab = undefined;
    if (!this.#wanted) return;
    this.#wanted = false;
    this.#handler!.onWritable();
  }

  wantWritable(): void {
    this.#wanted = true;
  }

  shutdownWrite(): void {
    this.#ended = true;
    this.#schedule();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ended = true;
    if (this.#slab !== undefined) giveSlab(this.#slab);
    this.#slab = undefined;
    this.#schedule();
    // The peer's unsent bytes go nowhere from now on; it is told that they were taken.
    this.#peer!.#schedule();
  }

  /** Nothing outside the process can make a memory connection do anything, so it never keeps the process alive. */
  ref(): void {}
  unref(): void {}
}
