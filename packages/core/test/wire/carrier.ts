import type {
  Clock,
  Connection,
  ConnectionHandler,
  Listener,
  Peer,
  Timer,
  Traits,
  Transport,
} from "@sluice/core";

/** Resolves when the event loop has turned: whatever promises had to say has been said. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A clock that stands still until it is moved. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();

  now(): number {
    return this.#now;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer), ref: () => {}, unref: () => {} };
  }

  /** Let `ms` milliseconds pass, and fire what is due on the way. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
    this.#now = end;
  }
}

const RANGE_BYTES = 128 * 1024;

/** One end of a connection whose other end is the test: it takes what was sent, and says what arrives. */
export class ScriptedConnection implements Connection {
  readonly traits: Traits;
  readonly peer: Peer = { address: "scripted:" };
  readonly memory = new Uint8Array(RANGE_BYTES);
  readonly rangeStart = 8;
  readonly rangeEnd = RANGE_BYTES;
  readonly unsentBytes = 0;
  /** Frames sent and not yet taken. */
  readonly sent: Uint8Array[] = [];
  closed = false;
  #handler: ConnectionHandler | undefined = undefined;
  #blocked = false;

  constructor(traits: Partial<Traits> = {}) {
    this.traits = { maxFrameBytes: 65 * 1024, peerDeath: "carrier", reconnectable: false, ...traits };
  }

  start(handler: ConnectionHandler): void {
    this.#handler = handler;
  }

  reserve(): boolean {
    return !this.closed && !this.#blocked;
  }

  commit(used: number): void {
    this.sent.push(this.memory.slice(this.rangeStart, this.rangeStart + used));
  }

  cancel(): void {}
  flush(): void {}
  ref(): void {}
  unref(): void {}

  close(): void {
    this.destroy();
  }

  destroy(error?: Error): void {
    if (this.closed) return;
    this.closed = true;
    queueMicrotask(() => this.#handler!.onClose(error));
  }

  /** From now on there is no room to send. */
  block(): void {
    this.#blocked = true;
  }

  /** There is room again, of which nobody is told yet. */
  makeRoom(): void {
    this.#blocked = false;
  }

  /** There is room again. */
  unblock(): void {
    this.makeRoom();
    this.#handler!.onWritable();
  }

  /** A frame arrives. Its bytes are gone when this returns, as the contract says. */
  receive(frame: Uint8Array): void {
    if (this.closed) throw new Error("a frame was sent on a closed connection");
    const memory = new Uint8Array(frame.length + 16).fill(0xaa);
    memory.set(frame, 8);
    this.#handler!.onFrame(memory, 8, 8 + frame.length);
    memory.fill(0xaa);
  }
}

/** Connects to, and accepts, scripted connections. */
export class ScriptedTransport implements Transport {
  readonly scheme = "scripted";
  #accept: ((connection: Connection) => void) | undefined = undefined;

  constructor(readonly connection: ScriptedConnection) {}

  connect(): Promise<Connection> {
    return Promise.resolve(this.connection);
  }

  listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
    this.#accept = accept;
    return Promise.resolve({ address, close: () => Promise.resolve(), ref: () => {}, unref: () => {} });
  }

  /** The connection arrives at the listener. */
  arrive(): void {
    this.#accept!(this.connection);
  }
}
