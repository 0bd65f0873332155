import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import type { Connection, Listener, TransportOptions } from "@sluice/core";
import { Endpoint } from "./endpoint.js";
import type { Subject } from "./subject.js";

/** What one test opened, so that all of it is closed and checked after the test. */
export class Fixture {
  readonly #makePair: () => Promise<[Connection, Connection]>;
  #endpoints: Endpoint[] = [];

  constructor(makePair: () => Promise<[Connection, Connection]>) {
    this.#makePair = makePair;
  }

  endpoint(connection: Connection): Endpoint {
    const endpoint = new Endpoint(connection);
    this.#endpoints.push(endpoint);
    return endpoint;
  }

  /** Both ends of a new connection, not started. */
  async pair(): Promise<[Endpoint, Endpoint]> {
    const [near, far] = await this.#makePair();
    return [this.endpoint(near), this.endpoint(far)];
  }

  async startedPair(): Promise<[Endpoint, Endpoint]> {
    const [near, far] = await this.pair();
    return [near.start(), far.start()];
  }

  /** Ends everything, and fails if any connection broke a rule that every test relies on. */
  async end(): Promise<void> {
    const endpoints = this.#endpoints.splice(0);
    for (const endpoint of endpoints) endpoint.destroy();
    const started = endpoints.filter((endpoint) => endpoint.started);
    await Promise.all(started.map((endpoint) => endpoint.closed));
    await setImmediate();
    const violations = endpoints.flatMap((endpoint) => endpoint.violations);
    expect([...new Set(violations)], "rules of the contract that were broken").to.deep.equal([]);
    for (const endpoint of started) expect(endpoint.closeCount, "calls of onClose").to.equal(1);
  }
}

/** A fixture whose connections are made by a transport. */
export class TransportFixture extends Fixture {
  readonly subject: Subject;
  readonly options: TransportOptions;
  #listeners: Listener[] = [];
  /** Where the pairs of one test connect: all at one listener. */
  #site: Promise<Site> | undefined;

  constructor(subject: Subject) {
    super(async () => this.connectionsAt(await (this.#site ??= this.site())));
    this.subject = subject;
    this.options = subject.options ?? {};
  }

  async listen(accept: (connection: Connection) => void, address?: string): Promise<Listener> {
    const at = address ?? (await this.subject.address());
    const listener = await this.subject.transport.listen(at, accept, this.options);
    this.#listeners.push(listener);
    return listener;
  }

  connect(address: string, options: TransportOptions = {}): Promise<Connection> {
    return this.subject.transport.connect(address, { ...this.options, ...options });
  }

  /** A listener whose connections are asked for one by one. */
  async site(address?: string): Promise<Site> {
    const site = new Site();
    site.listener = await this.listen((connection) => site.push(connection), address);
    return site;
  }

  /** Connects to a site: the connecting end, and the accepted one; neither is started. */
  async pairAt(site: Site): Promise<[Endpoint, Endpoint]> {
    const [near, far] = await this.connectionsAt(site);
    return [this.endpoint(near), this.endpoint(far)];
  }

  private async connectionsAt(site: Site): Promise<[Connection, Connection]> {
    const accepted = site.next();
    return [await this.connect(site.listener.address), await accepted];
  }

  override async end(): Promise<void> {
    const listeners = this.#listeners.splice(0);
    this.#site = undefined;
    await Promise.all(listeners.map((listener) => listener.close()));
    await super.end();
  }
}

/** A listener that hands out its connections in the order in which they came. */
export class Site {
  listener!: Listener;
  #ready: Connection[] = [];
  #waiting: ((connection: Connection) => void)[] = [];

  push(connection: Connection): void {
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) waiter(connection);
    else this.#ready.push(connection);
  }

  next(): Promise<Connection> {
    const connection = this.#ready.shift();
    if (connection !== undefined) return Promise.resolve(connection);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
