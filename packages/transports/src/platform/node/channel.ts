import type { Socket } from "node:net";
import {
  END,
  OWNER,
  START,
  type ByteChannel,
  type ByteChannelHandler,
  type WriteSlab,
} from "../../stream/channel.js";
import { giveSlab, nextId, readSlab, takeSlab } from "../../stream/slabs.js";

/** Written at once, so that a slow peer's progress shows: Node tells only when a whole write is done. */
const WRITE_BYTES = 64 * 1024;

/** Whom a channel tells when it has read, and when it has written. */
export interface Activity {
  read(): void;
  written(): void;
}

let scheduled: NodeChannel[] = [];

function flushScheduled(): void {
  const channels = scheduled;
  scheduled = [];
  for (const channel of channels) channel.flush();
}

/**
 * A byte channel over one of Node's own duplex streams, or over two that each serve one direction. One write is in
 * progress at a time; what is committed meanwhile gathers behind it in the slab and becomes the next, so the slab bounds
 * what is queued.
 */
export class NodeChannel implements ByteChannel {
  readonly id = nextId();
  readonly #reader: Socket;
  readonly #writer: Socket;
  readonly #handler: ByteChannelHandler;
  readonly #activity: Activity | undefined;
  #slab: WriteSlab | undefined;
  /** How far the write in progress reaches in the slab; 0 when there is none. */
  #writingTo = 0;
  #wanted = false;
  #ending = false;
  #closed = false;
  #carried = 0;

  constructor(reader: Socket, writer: Socket, handler: ByteChannelHandler, activity?: Activity) {
    this.#activity = activity;
    this.#reader = reader;
    this.#writer = writer;
    this.#handler = handler;
    const onError = (error: Error): void => {
      if (!this.#closed) handler.onError(error);
    };
    reader.on("error", onError);
    if (writer !== reader) writer.on("error", onError);
    reader.on("close", () => {
      if (!this.#closed) handler.onEnd();
    });
  }

  start(): void {
    this.#reader.on("data", (chunk: Uint8Array) => this.#onData(chunk));
    this.#reader.on("end", () => {
      if (!this.#closed) this.#handler.onEnd();
    });
    // An accepted socket comes paused.
    this.#reader.resume();
  }

  #onData(chunk: Uint8Array): void {
    this.#activity?.read();
    for (let at = 0; at < chunk.length && !this.#closed;) {
      const length = Math.min(chunk.length - at, readSlab.length - this.#carried);
      readSlab.set(
        at === 0 && length === chunk.length ? chunk : chunk.subarray(at, at + length),
        this.#carried,
      );
      at += length;
      this.#carried = this.#handler.onRead(this.#carried + length);
    }
  }

  acquire(): WriteSlab {
    if (scheduled.push(this) === 1) setImmediate(flushScheduled);
    return (this.#slab = takeSlab(this.id));
  }

  flush(): void {
    const slab = this.#slab;
    if (slab === undefined || this.#writingTo > 0 || this.#closed) return;
    const start = slab.words[START]!;
    const end = slab.words[END]!;
    if (start === end) return this.#onDrained();
    this.#writingTo = Math.min(end, start + WRITE_BYTES);
    this.#writer.write(slab.memory.subarray(start, this.#writingTo), (error) => {
      // An error is told by the stream's event of that name.
      if (!error && !this.#closed) this.#onWritten();
    });
    this.#activity?.written();
  }

  #onWritten(): void {
    const words = this.#slab!.words;
    words[START] = this.#writingTo;
    this.#writingTo = 0;
    if (words[START] !== words[END]) return this.flush();
    this.#onDrained();
    if (!this.#wanted) return;
    this.#wanted = false;
    this.#handler.onWritable();
  }

  #onDrained(): void {
    giveSlab(this.#slab!);
    this.#slab = undefined;
    if (this.#ending) this.#writer.end();
  }

  wantWritable(): void {
    this.#wanted = true;
  }

  shutdownWrite(): void {
    this.#ending = true;
    if (this.#slab === undefined) this.#writer.end();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // A write in progress still reads the slab's memory, so that slab is left to the garbage collector.
    if (this.#slab !== undefined && this.#writingTo === 0) giveSlab(this.#slab);
    else if (this.#slab !== undefined) this.#slab.words[OWNER] = 0;
    this.#slab = undefined;
    this.#reader.destroy();
    this.#writer.destroy();
  }

  ref(): void {
    this.#reader.ref();
    this.#writer.ref();
  }

  unref(): void {
    this.#reader.unref();
    this.#writer.unref();
  }
}
