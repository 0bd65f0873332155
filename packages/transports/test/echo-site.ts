import { networkInterfaces } from "node:os";
import type { Connection, Listener, Transport, TransportOptions } from "@sluice/core";
import { Endpoint, makeFrame } from "@sluice/transport-contract";

/** An IPv4 address of this host that is not loopback, if it has one. Connecting to it does not leave the host. */
export const outward = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry!.family === "IPv4" && !entry!.internal)?.address;

/** Listeners of one transport that send every frame back, and both ends of the connections to them. */
export class EchoSite {
  readonly listeners: Listener[] = [];
  /** In the order in which they came to be: of a connection the far end second. */
  readonly endpoints: Endpoint[] = [];
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Resolves to the address that is listened at. */
  async listen(address: string, options: TransportOptions = {}): Promise<string> {
    const accept = (connection: Connection): void => {
      const endpoint = this.#keep(connection);
      endpoint.consume = (memory, start, end) => void endpoint.send(memory.slice(start, end));
      endpoint.start();
    };
    const listener = await this.#transport.listen(address, accept, options);
    this.listeners.push(listener);
    return listener.address;
  }

  /** Connects, and resolves to the near end once a frame has come back. */
  async connect(address: string, options: TransportOptions = {}): Promise<Endpoint> {
    const endpoint = this.#keep(await this.#transport.connect(address, options)).start();
    endpoint.send(makeFrame(0, 5000));
    await endpoint.received(1);
    return endpoint;
  }

  #keep(connection: Connection): Endpoint {
    const endpoint = new Endpoint(connection);
    this.endpoints.push(endpoint);
    return endpoint;
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    for (const endpoint of this.endpoints) endpoint.destroy();
    await Promise.all(this.endpoints.map((endpoint) => endpoint.closed));
    await Promise.all(this.listeners.map((listener) => listener.close()));
  }
}
