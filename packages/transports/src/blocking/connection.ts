import type { BlockingConnection, Peer, Traits } from "@sluice/core";
import type { Native, RingWaiter } from "@sluice/native";
import { RingConnection, type Rings } from "../ring/connection.js";
import { StreamConnection } from "../stream/connection.js";
import { BlockingByteChannel } from "./byte-channel.js";
import { MAX_BLOCKED_MS } from "./wait.js";

/** What is read at a time, and the largest frame: a synchronous client has a buffer of its own. */
const INPUT_BYTES = 128 * 1024;

/** How often to look for an answer before the addon polls, which yields the processor: together two microseconds, in which most do. */
const LOOKS = 200;

/** Frames over descriptors that its user waits on. */
export class BlockingStreamConnection extends StreamConnection implements BlockingConnection {
  readonly connecting: boolean;
  readonly #channel: BlockingByteChannel;

  /** Takes the descriptors over (one number twice for a socket) and makes them non-blocking. */
  constructor(
    native: Native,
    readFd: number,
    writeFd: number,
    pollUs: number,
    connecting: boolean,
    traits: Traits,
    peer: Peer,
  ) {
    const input = new Uint8Array(INPUT_BYTES);
    let channel: BlockingByteChannel;
    native.setNonBlocking(readFd, true);
    native.setNonBlocking(writeFd, true);
    super(
      (handler) => (channel = new BlockingByteChannel(native, readFd, writeFd, input, pollUs, handler)),
      input,
      traits,
      peer,
    );
    this.#channel = channel!;
    this.connecting = connecting;
  }

  /** Only reading tells. */
  get mayHaveInput(): boolean {
    return true;
  }

  wait(timeoutMs: number): void {
    if (!this.ended) this.#channel.wait(timeoutMs);
    this.notifyClosed();
  }
}

/** Frames in rings that its user waits on, as the connecting side. */
export class BlockingRingConnection extends RingConnection implements BlockingConnection {
  readonly connecting = true;
  readonly #waiter: RingWaiter;
  readonly #polls: boolean;

  /** Takes ownership of the segment and of `fd`, its control socket. */
  constructor(native: Native, rings: Rings, fd: number, onSemaphore: boolean, pollUs: number, peer: Peer) {
    const waiter = new native.RingWaiter(fd, rings.segment, 1, onSemaphore, pollUs);
    super(
      rings,
      1,
      () => ({
        words: waiter.words,
        ring: (how) => waiter.ring(how),
        close: () => waiter.close(),
        // What the event loop would need.
        start() {},
        watch() {},
        ref() {},
        unref() {},
      }),
      peer,
    );
    this.#waiter = waiter;
    this.#polls = pollUs > 0;
  }

  get mayHaveInput(): boolean {
    return this.ended || this.look(1);
  }

  wait(timeoutMs: number): void {
    if (!this.ended) {
      // An answer that comes at once is seen from here before the addon could be asked.
      const seen = this.#polls && timeoutMs > 0 && this.look(LOOKS);
      const woken = seen ? 1 : this.#waiter.wait(Math.min(timeoutMs, MAX_BLOCKED_MS));
      if (woken > 0) this.onWake();
      else if (woken < 0) {
        this.#waiter.close();
        this.onEnd();
      }
    }
    this.notifyClosed();
  }
}
