/** Clients of what has no calls: something that sends back the bytes it was sent, in order. */
// See load.ts.
import { performance } from "node:perf_hooks";
import type { BenchClient, Echoed, OnEcho } from "./implementation.js";

export interface EchoLink {
  /** Send `body`, `times` times over. `body` stays as it is until all of it is back. */
  send(body: Uint8Array, times: number): void;
  close(): Promise<void>;
}

/**
 * Makes a client of a link. `open` is given what to call with the bytes that come back, in pieces of any size and only lent,
 * and with the error that ends the link.
 */
export async function echoClient(
  open: (receive: (bytes: Uint8Array) => void, fail: (error: Error) => void) => Promise<EchoLink>,
): Promise<BenchClient> {
  let receive: (bytes: Uint8Array) => void = () => {
    throw new Error("bytes arrived that nobody asked for");
  };
  let fail: (error: Error) => void = (error) => {
    throw error;
  };
  const link = await open(
    (bytes) => receive(bytes),
    (error) => fail(error),
  );

  const exchange = (body: Uint8Array): Promise<Echoed> =>
    new Promise((resolve, reject) => {
      const echoed = new Uint8Array(body.length);
      let length = 0;
      fail = reject;
      receive = (bytes) => {
        echoed.set(bytes, length);
        length += bytes.length;
        if (length === echoed.length) resolve({ body: echoed });
      };
      link.send(body, 1);
    });

  return {
    /** One at a time; for comparing bytes, not for timing. */
    unary() {
      let previous: Promise<unknown> = Promise.resolve();
      return (body) => {
        const reply = previous.then(() => exchange(body));
        previous = reply;
        return reply;
      };
    },

    echo: (body, inFlight, onEcho) =>
      new Promise((resolve, reject) => {
        const underWay = new Window(inFlight, onEcho, (times) => link.send(body, times), resolve);
        let unread = 0;
        fail = reject;
        receive = (bytes) => {
          unread += bytes.length;
          const whole = Math.floor(unread / body.length);
          unread -= whole * body.length;
          if (whole > 0) underWay.returned(whole);
        };
        underWay.open();
      }),

    close: () => link.close(),
  };
}

/** Keeps so many messages under way, of which the oldest is always the next to come back. */
export class Window {
  readonly #sentAt: Float64Array;
  readonly #onEcho: OnEcho;
  readonly #send: (times: number) => void;
  readonly #onEmpty: () => void;
  #oldest = 0;
  #underWay = 0;
  #running = true;

  /** `send` sends so many messages; `onEmpty` is called when, in the end, all are back. */
  constructor(size: number, onEcho: OnEcho, send: (times: number) => void, onEmpty: () => void) {
    this.#sentAt = new Float64Array(size);
    this.#onEcho = onEcho;
    this.#send = send;
    this.#onEmpty = onEmpty;
  }

  /** Send the first messages, as many as the window holds. */
  open(): void {
    this.#underWay = this.#sentAt.length;
    this.#sentAt.fill(performance.now());
    this.#send(this.#underWay);
  }

  /** So many came back: send as many again, unless `onEcho` says that it is enough. */
  returned(count: number): void {
    const now = performance.now();
    for (let i = 0; i < count; i++) {
      this.#running = this.#onEcho(now - this.#sentAt[this.#oldest], now) && this.#running;
      this.#sentAt[this.#oldest] = now;
      this.#oldest = (this.#oldest + 1) % this.#sentAt.length;
    }
    if (this.#running) this.#send(count);
    else if ((this.#underWay -= count) === 0) this.#onEmpty();
  }
}
