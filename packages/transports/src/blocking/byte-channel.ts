import type { Native } from "@sluice/native";
import { END, START, type ByteChannel, type ByteChannelHandler, type WriteSlab } from "../stream/channel.js";
import { giveSlab, nextId, takeSlab } from "../stream/slabs.js";
import { MAX_BLOCKED_MS } from "./wait.js";

/** A byte channel over descriptors that do not block, which works only while its owner has it `wait`. */
export class BlockingByteChannel implements ByteChannel {
  readonly id = nextId();
  readonly #native: Native;
  readonly #readFd: number;
  readonly #writeFd: number;
  readonly #input: Uint8Array;
  readonly #pollUs: number;
  readonly #handler: ByteChannelHandler;
  #slab: WriteSlab | undefined;
  #wanted = false;
  #ending = false;
  #writingClosed = false;
  #closed = false;
  #carried = 0;
  /** Why writing failed, until `wait` tells it. */
  #error: Error | undefined;

  /** Takes the descriptors over (one number twice for a socket). `input` is the slab that this channel alone reads into. */
  constructor(
    native: Native,
    readFd: number,
    writeFd: number,
    input: Uint8Array,
    pollUs: number,
    handler: ByteChannelHandler,
  ) {
    this.#native = native;
    this.#readFd = readFd;
    this.#writeFd = writeFd;
    this.#input = input;
    this.#pollUs = pollUs;
    this.#handler = handler;
  }

  start(): void {}

  acquire(): WriteSlab {
    return (this.#slab = takeSlab(this.id));
  }

  /** Reads and writes what can be at once; if that is nothing, after waiting for up to `timeoutMs`, or less. */
  wait(timeoutMs: number): void {
    if (this.#work() || timeoutMs <= 0 || this.#closed) return;
    const writeFd = this.#slab === undefined ? -1 : this.#writeFd;
    const blockedMs = Math.min(timeoutMs, MAX_BLOCKED_MS);
    if (this.#native.blocking.awaitReady(this.#readFd, writeFd, blockedMs, this.#pollUs)) this.#work();
  }

  /** Whether there was anything to do. */
  #work(): boolean {
    try {
      if (this.#error !== undefined) throw this.#error;
      this.#write();
      if (this.#wanted && this.#slab === undefined) {
        this.#wanted = false;
        this.#handler.onWritable();
        return true;
      }
      return this.#read();
    } catch (error) {
      this.close();
      this.#handler.onError(error as Error);
      return true;
    }
  }

  #read(): boolean {
    const count = this.#native.blocking.read(this.#readFd, this.#input, this.#carried);
    if (count < 0) return false;
    if (count === 0) this.#handler.onEnd();
    else this.#carried = this.#handler.onRead(this.#carried + count);
    return true;
  }

  #write(): void {
    const slab = this.#slab;
    if (slab === undefined || this.#closed) return;
    const { words } = slab;
    while (words[START]! < words[END]!) {
      const count = this.#native.blocking.write(this.#writeFd, slab.memory, words[START]!, words[END]!);
      if (count < 0) return;
      words[START]! += count;
    }
    giveSlab(slab);
    this.#slab = undefined;
    if (this.#ending) this.#shutdown();
  }

  flush(): void {
    try {
      this.#write();
    } catch (error) {
      this.#error ??= error as Error;
    }
  }

  wantWritable(): void {
    this.#wanted = true;
  }

  shutdownWrite(): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#slab === undefined) this.#shutdown();
  }

  #shutdown(): void {
    if (this.#writeFd === this.#readFd) this.#native.blocking.shutdown(this.#writeFd);
    else this.#closeWriting();
  }

  #closeWriting(): void {
    if (this.#writingClosed) return;
    this.#writingClosed = true;
    this.#native.closeFd(this.#writeFd);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#slab !== undefined) giveSlab(this.#slab);
    this.#slab = undefined;
    this.#native.closeFd(this.#readFd);
    if (this.#writeFd !== this.#readFd) this.#closeWriting();
  }

  ref(): void {}
  unref(): void {}
}
