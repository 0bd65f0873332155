/**
 * What the suites run on: every transport, with the server in a process of its own. `SLUICE_NATIVE=0` in the
 * environment makes all of these the fallbacks on Node's own modules.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import {
  connect,
  createServer,
  spawn,
  type Channel,
  type ConnectOptions,
  type Limits,
  type ServerOptions,
} from "@sluice/node";
import { Child, programPath } from "./processes.js";
import { addServices } from "./services.js";
import { within } from "./within.js";

export const native = process.env["SLUICE_NATIVE"] !== "0";

export interface Carrier {
  /** The address's form, and the variant. */
  readonly name: string;
  /** Whether the server is another process. */
  readonly crossing: boolean;
  /** Whether many clients reach one server by its address, and can again after they lost it. */
  readonly shared: boolean;
  /** Start a server and connect to it. */
  open(options?: OpenOptions): Promise<Link>;
}

export interface OpenOptions {
  readonly server?: Pick<ServerOptions, "limits" | "keepalive">;
  readonly client?: ConnectOptions;
}

/** A running server and the first channel to it. */
export interface Link {
  readonly channel: Channel;
  /** The server's process, unless that is this one. */
  readonly server: Child | undefined;
  readonly serverPid: number;
  /** Where the server listens. Undefined where only its parent can reach it. */
  readonly address: string | undefined;
  /** A second channel to the same server, closed with the link. Only where the carrier is `shared`. */
  connect(options?: ConnectOptions): Promise<Channel>;
  /** Close the channels, end the server as its user would, and fail if anything is left. */
  close(): Promise<void>;
}

const LINK_MS = 20_000;

class OpenLink implements Link {
  readonly #channels: Channel[] = [];

  constructor(
    readonly server: Child | undefined,
    readonly address: string | undefined,
    readonly channel: Channel,
    readonly end: () => Promise<void>,
  ) {
    this.#channels.push(channel);
  }

  get serverPid(): number {
    return this.server?.pid ?? process.pid;
  }

  async connect(options?: ConnectOptions): Promise<Channel> {
    if (this.address === undefined) throw new Error("nobody but the parent can connect to this server");
    const channel = await within(LINK_MS, connect(this.address, options), `a channel to ${this.address}`);
    this.#channels.push(channel);
    return channel;
  }

  async close(): Promise<void> {
    await within(
      LINK_MS,
      Promise.all(this.#channels.map((channel) => channel.close())),
      "closing the channels",
    );
    await this.end();
  }
}

/** Wait for the orderly end of a server that was told to close, or has nobody left to serve. */
async function ended(server: Child): Promise<void> {
  const { code, signal } = await within(
    LINK_MS,
    server.exited,
    `the server's end after its close\n${server.stderr}`,
  );
  if (signal !== "SIGKILL" && code !== 0) {
    throw new Error(`the server ended with ${signal ?? code} instead of 0\n${server.stderr}`);
  }
}

/** A transport whose server listens at an address of its own; `address` may name files in `directory`. */
function listening(name: string, address: (directory: string) => string): Carrier {
  return {
    name,
    crossing: true,
    shared: true,
    async open({ server: serverOptions = {}, client = {} } = {}) {
      const directory = mkdtempSync(join(tmpdir(), "sluice-"));
      const server = Child.run("server", [address(directory), JSON.stringify(serverOptions)]);
      const remove = () => rmSync(directory, { recursive: true });
      try {
        const bound = await server.line();
        const channel = await within(LINK_MS, connect(bound, client), `a channel to ${bound}`);
        return new OpenLink(server, bound, channel, async () => {
          const graceful = !server.ended;
          server.kill("SIGTERM");
          await ended(server);
          const left = readdirSync(directory);
          remove();
          if (graceful && left.length > 0) throw new Error(`the server left ${left.join(", ")} behind`);
        });
      } catch (error) {
        await server.destroy();
        remove();
        throw error;
      }
    },
  };
}

/** A transport between a parent and a child that it spawned: one server process per channel. */
function spawned(name: string): Carrier {
  return {
    name,
    crossing: true,
    shared: false,
    async open({ server: serverOptions = {}, client = {} } = {}) {
      const args = ["--expose-gc", programPath("server"), name, JSON.stringify(serverOptions)];
      const { channel, process: child } = await within(
        LINK_MS,
        spawn(process.execPath, args, { ...client, address: name }),
        `a channel to a child by ${name}`,
      );
      const server = new Child(child);
      return new OpenLink(server, undefined, channel, () => ended(server));
    },
  };
}

/** The transport inside one process. */
function inProcess(name: string): Carrier {
  return {
    name,
    crossing: false,
    shared: true,
    async open({ server: serverOptions = {}, client = {} } = {}) {
      const server = createServer(serverOptions);
      let closed: Promise<void> | undefined;
      const close = () => (closed ??= server.close());
      addServices(server, () => void close());
      const { address } = await server.listen(name + randomUUID());
      return new OpenLink(undefined, address, await connect(address, client), () =>
        within(LINK_MS, close(), "the server's close"),
      );
    },
  };
}

const hasIpv6 = Object.values(networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === "::1"),
);

/** Every carrier there is. A new transport is one more line. */
export const carriers: readonly Carrier[] = [
  inProcess("memory:"),
  listening("unix:", (directory) => `unix:${directory}/server.sock`),
  ...(native ? [listening("unix:@", () => `unix:@sluice-test-${randomUUID()}`)] : []),
  listening("tcp://127.0.0.1", () => "tcp://127.0.0.1:0"),
  ...(hasIpv6 ? [listening("tcp://[::1]", () => "tcp://[::1]:0")] : []),
  spawned("pipe:"),
  spawned("stdio:"),
];

/** Limits for the tests of large messages, to be given to both ends. */
export const LARGE: Partial<Limits> = { maxMessageBytes: (64 << 20) + 1024 };
