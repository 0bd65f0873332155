import {
  Channel,
  checkEndpointOptions,
  closeError,
  type CloseOptions,
  type EndpointOptions,
} from "./channel.js";
import type { Clock } from "./clock.js";
import type { Implementation, ServiceDefinition } from "./definition.js";
import { Emitter } from "./emitter.js";
import { RpcError } from "./error.js";
import { completeLimits } from "./limits.js";
import { Registry, type ServiceOptions } from "./registry.js";
import { Status } from "./status.js";
import { transportOf } from "./transports.js";
import type { Connection, Listener, Peer, Transport, TransportOptions } from "./transport.js";

export type ServerEvents = {
  /** A client has connected and said HELLO. The channel reaches it for as long as its connection lives. */
  connection: [channel: Channel];
  /** A connection was lost or cut off with an error (a hostile or broken peer, a crash), or could not be let in; without a peer, nobody can for now. */
  connectionError: [error: Error, peer: Peer | undefined];
};

/** Connections that have not said HELLO yet; when there are more, the oldest is cut off. */
const MAX_HANDSHAKES = 1024;

const OPTIONS: ReadonlySet<string> = new Set<keyof EndpointOptions>(["limits", "interceptors", "keepalive"]);

/** Serves services at any number of addresses. */
export class Server {
  readonly #transports: readonly Transport[];
  readonly #options: EndpointOptions;
  readonly #clock: Clock | undefined;
  readonly #services: Registry;
  readonly #events = new Emitter<ServerEvents>();
  readonly #listeners = new Set<Listener>();
  readonly #channels = new Set<Channel>();
  readonly #handshaking = new Set<Channel>();
  #closing: Promise<void> | undefined = undefined;
  #onIdle: (() => void) | undefined = undefined;

  /** @private Servers are made by `createServer`. */
  constructor(transports: readonly Transport[], options: EndpointOptions, clock?: Clock) {
    for (const name of Object.keys(options)) {
      if (!OPTIONS.has(name)) {
        throw new RpcError(
          Status.INVALID_ARGUMENT,
          `${name} is no option; there are ${[...OPTIONS].join(", ")}`,
        );
      }
    }
    // An error belongs here, not to the first connection.
    checkEndpointOptions(options);
    completeLimits(options.limits);
    this.#transports = transports;
    this.#options = options;
    this.#clock = clock;
    this.#services = new Registry(options.interceptors ?? []);
  }

  /**
   * Offer a service at every address. Throws ALREADY_EXISTS if it has been added, INVALID_ARGUMENT if a method has no
   * handler (and names it).
   */
  add<S extends ServiceDefinition>(
    service: S,
    implementation: Implementation<S>,
    options?: ServiceOptions,
  ): this {
    this.#services.add(service, implementation, options);
    return this;
  }

  /**
   * Listen at `address`, with its transport's options. Resolves to the listener, whose `address` can be connected to.
   * Rejects with what `Transport.listen` does, and INVALID_ARGUMENT for an unknown scheme.
   */
  async listen(address: string, options: TransportOptions = {}): Promise<Listener> {
    this.#checkOpen();
    const transport = transportOf(this.#transports, address);
    const listener = await transport.listen(
      address,
      (connection) => this.#accept(connection),
      options,
      (error, peer) => this.#events.emit("connectionError", error, peer),
    );
    if (this.#closing !== undefined) {
      await listener.close();
      this.#checkOpen();
    }
    this.#listeners.add(listener);
    return listener;
  }

  /** Be told of `event`. Returns a function that ends it. */
  on<E extends keyof ServerEvents>(event: E, listener: (...args: ServerEvents[E]) => void): () => void {
    return this.#events.on(event, listener);
  }

  /**
   * Stop listening, let the calls in flight finish, and close every connection. Resolves when nothing is left. Calls that
   * take longer than `timeoutMs` are cut off. Idempotent; the first call's options count. Rejects, and closes nothing, with
   * INVALID_ARGUMENT.
   */
  close(options: CloseOptions = {}): Promise<void> {
    const wrong = closeError(options);
    if (wrong !== undefined) return Promise.reject(wrong);
    return (this.#closing ??= this.#close(options));
  }

  async #close(options: CloseOptions): Promise<void> {
    const idle = new Promise<void>((resolve) => (this.#onIdle = resolve));
    // Together: whoever calls from now on must learn that it is over, however long the listeners take.
    await Promise.all([
      ...[...this.#channels].map((channel) => channel.close(options)),
      ...[...this.#listeners].map((listener) => listener.close()),
    ]);
    this.#listeners.clear();
    if (this.#channels.size > 0) await idle;
  }

  #accept(connection: Connection): void {
    if (this.#closing !== undefined) return connection.destroy();
    if (this.#handshaking.size >= MAX_HANDSHAKES) {
      const [oldest] = this.#handshaking;
      oldest!.destroy(new RpcError(Status.RESOURCE_EXHAUSTED, "too many connections have not said HELLO"));
      this.#handshaking.delete(oldest!);
    }
    const channel = new Channel({
      address: connection.peer.address,
      options: this.#options,
      services: this.#services,
      ...(this.#clock === undefined ? {} : { clock: this.#clock }),
      onReady: (ready) => {
        this.#handshaking.delete(ready);
        this.#events.emit("connection", ready);
      },
      onClosed: (closed, error) => {
        this.#handshaking.delete(closed);
        this.#channels.delete(closed);
        if (error !== undefined) this.#events.emit("connectionError", error, connection.peer);
        if (this.#channels.size === 0) this.#onIdle?.();
      },
    });
    this.#channels.add(channel);
    this.#handshaking.add(channel);
    channel.attach(connection, false);
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) {
      throw new RpcError(Status.FAILED_PRECONDITION, "the server has been closed; create another");
    }
  }
}
