import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchProcess, type StartOptions } from "./bench-process.js";
import type { ClientRequest, ConnectRequest } from "./client-process.js";
import { findImplementation } from "./implementations/index.js";
import type { Timing } from "./load.js";
import type { Scenario } from "./scenarios.js";
import type { ServeRequest } from "./server-process.js";
import type { Slice } from "./statistics.js";

/** A slice lasts a fraction of a second; a minute means that something hangs. */
const REQUEST_TIMEOUT_MS = 60_000;

/** The processes end by themselves when this one does; the directories would stay. */
const directories = new Set<string>();
process.once("exit", () => directories.forEach(removeDirectory));

function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  directories.delete(directory);
}

/** The server of one implementation on one transport or several, and its clients: each in a process of its own. */
export class Endpoints {
  readonly #name: string;
  readonly #serverOptions: StartOptions;
  readonly #clients: BenchProcess[] = [];
  readonly #directories: string[] = [];
  /** Of each transport that is served; where the client brings the server, its directory. */
  readonly #addresses = new Map<string, string>();
  #server: BenchProcess | undefined;

  /** Nothing is started yet. */
  constructor(name: string, serverOptions: StartOptions = {}) {
    this.#name = name;
    this.#serverOptions = serverOptions;
  }

  /** Serve one transport. */
  static async open(name: string, transport: string, options: StartOptions = {}): Promise<Endpoints> {
    const endpoints = new Endpoints(name, options);
    try {
      await endpoints.serve(transport);
    } catch (error) {
      await endpoints.close();
      throw error;
    }
    return endpoints;
  }

  /** The server's process; undefined where the client brings the server. */
  get server(): BenchProcess | undefined {
    return this.#server;
  }

  get clients(): readonly BenchProcess[] {
    return this.#clients;
  }

  /** Have the server listen on `transport`, too, unless the client will bring it. One at a time. */
  async serve(transport: string): Promise<void> {
    const place = findImplementation(this.#name).transports[transport];
    if (place === undefined) throw new Error(`${this.#name} is not measured over ${transport}`);
    const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"));
    directories.add(directory);
    this.#directories.push(directory);
    if (place === "by client") {
      this.#addresses.set(transport, directory);
      return;
    }
    this.#server ??= await BenchProcess.start("./server-process.js", [this.#name], this.#serverOptions);
    const serve: ServeRequest = { serve: { transport, directory } };
    this.#addresses.set(transport, await this.#server.ask<string>(serve, REQUEST_TIMEOUT_MS));
  }

  /** Start a client that holds `connections` over `transport`, which is served. */
  async addClient(transport: string, connections = 1, options: StartOptions = {}): Promise<BenchProcess> {
    const client = await BenchProcess.start("./client-process.js", [this.#name], options);
    this.#clients.push(client);
    await this.connect(client, transport, connections);
    return client;
  }

  /** Have a client open so many more connections over `transport`, which is served. */
  async connect(client: BenchProcess, transport: string, connections = 1): Promise<void> {
    const connect: ConnectRequest = {
      connect: { transport, address: this.#addresses.get(transport)!, connections },
    };
    await client.ask<void>(connect, REQUEST_TIMEOUT_MS);
  }

  /** Time one slice with the first client, over all its connections of the scenario's transport. */
  measure(scenario: Scenario, timing: Timing): Promise<Slice> {
    return this.#clients[0].ask<Slice>({ scenario, timing } satisfies ClientRequest, REQUEST_TIMEOUT_MS);
  }

  /** Check that each connection that a client has of the scenario's transport gets the right answer. */
  async verify(scenario: Scenario): Promise<void> {
    for (const client of this.#clients) {
      await client.ask<void>({ scenario } satisfies ClientRequest, REQUEST_TIMEOUT_MS);
    }
  }

  /** End all processes, clients first, and remove what they left in the file system. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.stop()));
    await this.#server?.stop();
    this.#directories.forEach(removeDirectory);
  }
}
