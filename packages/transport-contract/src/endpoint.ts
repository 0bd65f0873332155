import { FRAME_HEADER_BYTES, type Connection, type ConnectionHandler, type LargeFrame } from "@sluice/core";

interface Waiter {
  readonly ready: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * One end of a connection under test: keeps what arrives, and watches that the connection keeps the contract's rules about
 * callbacks. A broken rule is kept in `violations`, which the fixture checks after each test: thrown from a callback it would
 * only destroy the connection.
 */
export class Endpoint implements ConnectionHandler {
  readonly connection: Connection;
  readonly violations: string[] = [];
  /** Copies of the frames that arrived, unless `consume` is set. */
  readonly frames: Uint8Array[] = [];
  frameCount = 0;
  started = false;
  writableCount = 0;
  closeCount = 0;
  closeError: Error | undefined;
  /** Resolves with the error given to `onClose`. */
  readonly closed: Promise<Error | undefined>;
  /** Takes the frames instead of `frames`. May throw, as a session may. */
  consume: ((memory: Uint8Array, start: number, end: number) => void) | undefined;
  /** Takes the large frames, and releases them, instead of `frames` or `consume`. */
  keep: ((frame: LargeFrame) => void) | undefined;
  /** Called at each `onWritable`. */
  whenWritable: (() => void) | undefined;

  #resolveClosed!: (error: Error | undefined) => void;
  #waiters: Waiter[] = [];
  /** How many of the connection's methods are running. */
  #inside = 0;
  #blocked = false;
  #destroyed = false;

  constructor(connection: Connection) {
    this.connection = connection;
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
  }

  start(): this {
    this.started = true;
    this.#call(() => this.connection.start(this));
    return this;
  }

  /** Sends one frame, if there is room. */
  send(frame: Uint8Array): boolean {
    const { connection } = this;
    if (!this.reserve(frame.length)) return false;
    connection.memory.set(frame, connection.rangeStart);
    this.commit(frame.length);
    return true;
  }

  /** Sends frames in order, waiting for room where there is none. */
  async sendAll(frames: Iterable<Uint8Array>): Promise<void> {
    for (const frame of frames) {
      while (!this.send(frame)) {
        const before = this.writableCount;
        await this.until(() => this.writableCount > before);
      }
    }
  }

  reserve(min: number): boolean {
    const { connection } = this;
    const reserved = this.#call(() => connection.reserve(min));
    if (!reserved) {
      this.#blocked = true;
      return false;
    }
    const range = connection.rangeEnd - connection.rangeStart;
    if (range < min) this.#violation(`reserve(${min}) gave a range of ${range} bytes`);
    const { traits, large } = connection;
    const most = min > traits.maxFrameBytes && large !== undefined ? large.maxBytes : traits.maxFrameBytes;
    if (range > most) this.#violation(`a range of ${range} bytes exceeds a frame`);
    if (connection.rangeStart < 0 || connection.rangeEnd > connection.memory.length) {
      this.#violation(`the range ${connection.rangeStart}..${connection.rangeEnd} is outside its memory`);
    }
    return true;
  }

  commit(used: number): void {
    this.#call(() => this.connection.commit(used));
  }

  cancel(): void {
    this.#call(() => this.connection.cancel());
  }

  flush(): void {
    this.#call(() => this.connection.flush());
  }

  close(): void {
    this.#call(() => this.connection.close());
  }

  destroy(error?: Error): void {
    this.#call(() => this.connection.destroy(error));
    this.#destroyed = true;
  }

  /** Resolves when `frameCount` is at least `count`; rejects if the connection is closed before. */
  received(count: number): Promise<void> {
    return this.until(() => this.frameCount >= count);
  }

  /** Resolves when `ready` is true, looked at after each callback; rejects if the connection is closed before. */
  until(ready: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ ready, resolve, reject });
      this.#wake();
    });
  }

  onFrame(memory: Uint8Array, start: number, end: number): void {
    this.#callback("onFrame");
    if (this.#destroyed) this.#violation("onFrame was called after destroy");
    const payload = new DataView(memory.buffer, memory.byteOffset).getUint32(start, true);
    if (payload !== end - start - FRAME_HEADER_BYTES) {
      this.#violation(`onFrame was given ${end - start} bytes for a frame with a payload of ${payload}`);
    }
    this.frameCount++;
    if (this.consume === undefined) this.frames.push(memory.slice(start, end));
    else this.consume(memory, start, end);
    this.#wake();
  }

  onLargeFrame(frame: LargeFrame): void {
    if (this.keep === undefined) {
      this.onFrame(frame.memory, frame.start, frame.end);
      frame.release();
      return;
    }
    this.#callback("onLargeFrame");
    this.frameCount++;
    this.keep(frame);
    this.#wake();
  }

  onWritable(): void {
    this.#callback("onWritable");
    if (!this.#blocked) this.#violation("onWritable was called without a reserve that returned false");
    this.#blocked = false;
    this.writableCount++;
    this.whenWritable?.();
    this.#wake();
  }

  onClose(error: Error | undefined): void {
    this.#callback("onClose");
    this.closeCount++;
    this.closeError = error;
    this.#resolveClosed(error);
    this.#wake();
  }

  #callback(name: string): void {
    if (this.#inside > 0) this.#violation(`${name} was called from inside one of the connection's methods`);
    if (this.closeCount > 0) this.#violation(`${name} was called after onClose`);
  }

  #call<T>(method: () => T): T {
    this.#inside++;
    try {
      return method();
    } finally {
      this.#inside--;
    }
  }

  #violation(what: string): void {
    this.violations.push(what);
  }

  #wake(): void {
    const waiting: Waiter[] = [];
    for (const waiter of this.#waiters) {
      if (waiter.ready()) waiter.resolve();
      else if (this.closeCount > 0) {
        waiter.reject(
          new Error(`the connection was closed early: ${this.closeError?.message ?? "orderly"}`, {
            cause: this.closeError,
          }),
        );
      } else waiting.push(waiter);
    }
    this.#waiters = waiting;
  }
}
