import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import type { Connection, Listener, TransportOptions } from "@sluice/core";
import { Endpoint } from "./endpoint.js";
import type { Subject } from "./subject.js";

/** What one test opened, so that all of it is closed and checked after the test. */
export class Fixture {
  readonly subject: Subject;
  readonly options: TransportOptions;
  #listeners: Listener[] = [];
  #endpoints: Endpoint[] = [];

  constructor(subject: Subject) {
    this.subject = subject;
    this.options = subject.options ?? {};
  }

  async listen(accept: (connection: Connection) => void, address?: string): Promise<Listener> {
    const { transport } = this.subject;
    const listener = await transport.listen(address ?? (await this.subject.address()), accept, this.options);
    this.#listeners.push(listener);
    return listener;
  }

  connect(address: string, options: TransportOptions = {}): Promise<Connection> {
    return this.subject.transport.connect(address, { ...this.options, ...options });
  }

  endpoint(connection: Connection): Endpoint {
    const endpoint = new Endpoint(connection);
    this.#endpoints.push(endpoint);
    return endpoint;
  }

  /** Connects to a listener of this fixture: the connecting end, and the accepted one; neither is started. */
  async pairAt(site: Site): Promise<[Endpoint, Endpoint]> {
    const accepted = site.next();
    const near = this.endpoint(await this.connect(site.listener.address));
    return [near, this.endpoint(await accepted)];
  }

  /** A new connection at an address of its own: the connecting end, and the accepted one; neither is started. */
  async pair(): Promise<[Endpoint, Endpoint]> {
    return this.pairAt(await this.site());
  }

  async startedPair(): Promise<[Endpoint, Endpoint]> {
    const [near, far] = await this.pair();
    return [near.start(), far.start()];
  }

  /** A listener whose connections are asked for one by one. */
  async site(address?: string): Promise<Site> {
    const site = new Site();
    site.listener = await this.listen((connection) => site.push(connection), address);
    return site;
  }

  /** Ends everything, and fails if any connection broke a rule that every test relies on. */
  async end(): Promise<void> {
    const endpoints = this.#endpoints.splice(0);
    const listeners = this.#listeners.splice(0);
    for (const endpoint of endpoints) endpoint.destroy();
    await Promise.all(listeners.map((listener) => listener.close()));
    const started = endpoints.filter((endpoint) => endpoint.started);
    await Promise.all(started.map((endpoint) => endpoint.closed));
    await setImmediate();
    const violations = endpoints.flatMap((endpoint) => endpoint.violations);
    expect([...new Set(violations)], "rules of the contract that were broken").to.deep.equal([]);
    for (const endpoint of started) expect(endpoint.closeCount, "calls of onClose").to.equal(1);
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
