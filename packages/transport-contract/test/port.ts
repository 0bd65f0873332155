import { MessageChannel, type MessagePort } from "node:worker_threads";
import {
  RpcError,
  Status,
  type Connection,
  type ConnectionHandler,
  type Peer,
  type Traits,
  type Transport,
} from "@sluice/core";

const TRAITS: Traits = { maxFrameBytes: 64 * 1024, peerDeath: "carrier", reconnectable: true };

/** What may be under way: a port takes whatever it is given, so the peer says how much it has taken. */
const WINDOW_BYTES = 256 * 1024;

/** One end of a pair of ports. A frame travels as a Uint8Array, the news that it was taken as its length, the end as null. */
class PortConnection implements Connection {
  readonly traits = TRAITS;
  readonly peer: Peer;
  /** Frames are made here and copied out: what `reserve` lends must not change under a frame that was committed. */
  readonly memory = new Uint8Array(TRAITS.maxFrameBytes);
  readonly rangeStart = 0;
  readonly rangeEnd = TRAITS.maxFrameBytes;
  unsentBytes = 0;

  readonly #port: MessagePort;
  #handler: ConnectionHandler | undefined;
  #state: "open" | "closing" | "closed" = "open";
  #blocked = false;
  #error: Error | undefined;

  constructor(port: MessagePort, address: string) {
    this.#port = port;
    this.peer = { address };
    // However a connection ends, at either end, each port tells of it once, from the event loop.
    port.once("close", () => {
      this.#state = "closed";
      this.#handler?.onClose(this.#error);
    });
  }

  start(handler: ConnectionHandler): void {
    this.#handler = handler;
    if (this.#state === "closed") setImmediate(() => handler.onClose(this.#error));
    else this.#port.on("message", (message) => this.#onMessage(message as Uint8Array | number | null));
  }

  #onMessage(message: Uint8Array | number | null): void {
    if (message === null) {
      this.#port.close();
    } else if (typeof message === "number") {
      this.unsentBytes -= message;
      if (!this.#blocked || this.#state !== "open") return;
      this.#blocked = false;
      this.#handler!.onWritable();
    } else if (this.#state === "open") {
      try {
        this.#handler!.onFrame(message, 0, message.length);
        this.#port.postMessage(message.length);
      } catch (error) {
        this.destroy(error as Error);
      }
    }
  }

  reserve(min: number): boolean {
    if (this.#state === "open" && this.unsentBytes + min <= WINDOW_BYTES) return true;
    this.#blocked = true;
    return false;
  }

  commit(used: number): void {
    const frame = this.memory.slice(0, used);
    this.unsentBytes += used;
    this.#port.postMessage(frame, [frame.buffer]);
  }

  cancel(): void {}

  flush(): void {}

  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    // Behind all that was committed. The peer closes when it comes to this.
    this.#port.postMessage(null);
  }

  destroy(error?: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#error = error;
    this.#port.close();
  }

  ref(): void {
    this.#port.ref();
  }

  unref(): void {
    this.#port.unref();
  }
}

const listeners = new Map<string, (connection: Connection) => void>();

function parse(address: string): string {
  const name = /^port:(.+)$/.exec(address)?.[1];
  if (name === undefined) {
    throw new RpcError(Status.INVALID_ARGUMENT, `malformed address "${address}": write port:NAME`);
  }
  return name;
}

/** `port:NAME`: within one thread, over the ports of worker_threads. */
export const port: Transport = {
  scheme: "port",

  async connect(address, { signal }) {
    const name = parse(address);
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `option signal must be an AbortSignal, not ${JSON.stringify(signal)}`,
      );
    }
    signal?.throwIfAborted();
    const accept = listeners.get(name);
    if (accept === undefined) throw new RpcError(Status.UNAVAILABLE, `nobody listens at ${address}`);
    const { port1, port2 } = new MessageChannel();
    accept(new PortConnection(port2, address));
    return new PortConnection(port1, address);
  },

  async listen(address, accept) {
    const name = parse(address);
    if (listeners.has(name)) throw new RpcError(Status.ALREADY_EXISTS, `${address} is in use`);
    listeners.set(name, accept);
    let open = true;
    return {
      address,
      async close() {
        if (open) listeners.delete(name);
        open = false;
      },
      ref() {},
      unref() {},
    };
  },
};
