import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchProcess, type StartOptions } from "./bench-process.js";
import type { ClientRequest } from "./client-process.js";
import { findImplementation } from "./implementations/index.js";
import type { Timing } from "./load.js";
import type { Scenario } from "./scenarios.js";
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

/** The server of one implementation on one transport, and its clients: each in a process of its own. */
export class Endpoints {
  readonly #name: string;
  readonly #transport: string;
  readonly #directory: string;
  readonly #clients: BenchProcess[] = [];
  #address: string;
  #server: BenchProcess | undefined;

  private constructor(name: string, transport: string, directory: string) {
    this.#name = name;
    this.#transport = transport;
    this.#directory = directory;
    this.#address = directory;
    directories.add(directory);
  }

  /** Start the server, unless the client will bring it. */
  static async open(name: string, transport: string, options: StartOptions = {}): Promise<Endpoints> {
    const place = findImplementation(name).transports[transport];
    if (place === undefined) throw new Error(`${name} is not measured over ${transport}`);
    const endpoints = new Endpoints(name, transport, await mkdtemp(join(tmpdir(), "sluice-bench-")));
    try {
      if (place === "own process") await endpoints.#startServer(options);
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

  /** Start a process that holds `connections` to the server. */
  async addClient(connections = 1, options: StartOptions = {}): Promise<BenchProcess> {
    const args = [this.#name, this.#transport, this.#address, String(connections)];
    const { process: client } = await BenchProcess.start<void>("./client-process.js", args, options);
    this.#clients.push(client);
    return client;
  }

  /** Time one slice with the first client, over all its connections. */
  measure(scenario: Scenario, timing: Timing): Promise<Slice> {
    return this.#clients[0].ask<Slice>({ scenario, timing } satisfies ClientRequest, REQUEST_TIMEOUT_MS);
  }

  /** Check that each connection of each client gets the right answer. */
  async verify(scenario: Scenario): Promise<void> {
    for (const client of this.#clients) {
      await client.ask<void>({ scenario } satisfies ClientRequest, REQUEST_TIMEOUT_MS);
    }
  }

  /** End all processes, clients first, and remove what they left in the file system. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.stop()));
    await this.#server?.stop();
    removeDirectory(this.#directory);
  }

  async #startServer(options: StartOptions): Promise<void> {
    const args = [this.#name, this.#transport, this.#directory];
    const { process: server, value } = await BenchProcess.start<string>("./server-process.js", args, options);
    this.#server = server;
    this.#address = value;
  }
}
