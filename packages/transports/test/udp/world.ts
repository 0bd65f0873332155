import type { Connection } from "@sluice/core";
import { Endpoint, type Random } from "@sluice/transport-contract";
import { ClientEndpoint } from "#transports/udp/client.js";
import type { Parameters } from "#transports/udp/packet.js";
import { ServerEndpoint } from "#transports/udp/server.js";
import { PERFECT, SimulatedNetwork, type Path, type SimulatedSocket } from "./network.js";

export const PARAMETERS: Parameters = { idleTimeoutMs: 30_000, windowBytes: 1 << 20 };

/** A server and its clients in a simulated network. */
export class World {
  readonly network: SimulatedNetwork;
  readonly socket: SimulatedSocket;
  readonly server: ServerEndpoint;
  /** What the server accepted, in order. */
  readonly accepted: Endpoint[] = [];
  readonly #secret: Uint8Array | undefined;
  #clients = 0;
  /** Ends the listener, and not the connections. */
  stopListening!: () => void;

  /** `path` is that of the server's packets. */
  constructor(random: Random, path: Path = { ...PERFECT }, secret?: Uint8Array) {
    this.network = new SimulatedNetwork(random);
    this.#secret = secret;
    this.socket = this.network.socket("192.0.2.1", 5000, path);
    this.server = this.start(this.socket);
  }

  /** A server as after a new start of its process. */
  start(socket: SimulatedSocket, secret = this.#secret): ServerEndpoint {
    const server = new ServerEndpoint(this.network, socket, () => {});
    const listening = server.listen({
      address: "udp://192.0.2.1:5000",
      secret,
      accept: (connection) => void this.accepted.push(new Endpoint(connection)),
      parameters: () => PARAMETERS,
    });
    this.stopListening = () => listening.close();
    return server;
  }

  /** A client whose packets take `path`; with no secret if that is null. */
  client(
    path: Path = { ...PERFECT },
    secret: Uint8Array | null | undefined = this.#secret,
  ): { endpoint: ClientEndpoint; socket: SimulatedSocket } {
    const socket = this.network.socket("198.51.100.7", 40_000 + this.#clients++, path, this.socket);
    const endpoint = new ClientEndpoint(this.network, socket, {
      address: "udp://192.0.2.1:5000",
      remoteAddress: "192.0.2.1",
      remotePort: 5000,
      secret: secret ?? undefined,
      parameters: PARAMETERS,
      loopback: false,
    });
    return { endpoint, socket };
  }

  /** Lets time pass until `promise` is settled; rejects like it, or when too much has passed. */
  async until<T>(promise: Promise<T>, withinMs = 120_000): Promise<T> {
    let settled = false;
    const settle = (): void => void (settled = true);
    promise.then(settle, settle);
    await this.network.run(this.network.now + withinMs, () => settled);
    if (!settled) throw new Error(`nothing came of it in ${withinMs} simulated ms`);
    return promise;
  }

  async connect(path?: Path): Promise<{ near: Endpoint; far: Endpoint; socket: SimulatedSocket }> {
    const { endpoint, socket } = this.client(path);
    const index = this.accepted.length;
    const connection: Connection = await this.until(endpoint.connect());
    await this.network.run(this.network.now + 60_000, () => this.accepted.length > index);
    const far = this.accepted[index];
    if (far === undefined) throw new Error("the server never accepted the connection");
    return { near: new Endpoint(connection).start(), far: far.start(), socket };
  }
}
