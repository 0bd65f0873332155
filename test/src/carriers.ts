/**
 * What the suites run on: every transport, with the server in a process of its own. `SLUICE_NATIVE=0` in the
 * environment makes all of these the fallbacks on Node's own modules.
 */
import { randomInt, randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import {
  connect,
  createServer,
  RpcError,
  spawn,
  Status,
  type Channel,
  type ConnectOptions,
  type Limits,
  type Server,
  type EndpointOptions,
  type TransportOptions,
} from "@sluice/node";
import { clientOptions, host, serverOptions } from "./identity.js";
import { lossyNamespace, namespaceUnavailable } from "./namespace.js";
import { Child, programPath } from "./processes.js";
import { addServices } from "./services.js";
import { within } from "./within.js";

export const native = process.env["SLUICE_NATIVE"] !== "0";

export interface Carrier {
  /** The kind of address. */
  readonly name: string;
  /** Whether the server is another process. */
  readonly crossing: boolean;
  /** Whether many clients reach one server by its address, and can again after they lost it. */
  readonly shared: boolean;
  /** The carrier that this one differs from in nothing but the form of its address: enough to test one of them at length. */
  readonly like?: string;
  /** Whether it lends the bytes of large messages to those who ask for that. */
  readonly lends?: boolean;
  /** Whether packets get lost and take long, so that tens of megabytes do. */
  readonly far?: true;
  /** Whether connecting takes milliseconds of work. */
  readonly costly?: boolean;
  /** Whether the kernel's limits allow for tens of connections, not hundreds. */
  readonly fewConnections?: boolean;
  /** Start a server and connect to it. */
  open(options?: OpenOptions): Promise<Link>;
}

export interface OpenOptions {
  readonly server?: Pick<EndpointOptions, "limits" | "keepalive">;
  readonly client?: ConnectOptions;
  /** Whether the client may stand still for many seconds, such as one that makes a thousand large messages at once on a busy machine. */
  readonly patient?: boolean;
}

/** A running server and the first channel to it. */
export interface Link {
  readonly channel: Channel;
  /** The server's process, unless that is this one. */
  readonly server: Child | undefined;
  /** Where the server listens. Undefined where only its parent can reach it. */
  readonly address: string | undefined;
  /** A second channel to the same server, closed with the link. Only where the carrier is `shared`. */
  connect(options?: ConnectOptions): Promise<Channel>;
  /** End the server as its user would, or wait for its end where it has nobody left to serve; fail if anything is left. */
  stop(): Promise<void>;
  /** Start a server again at the same address, after its end. Only where the carrier is `shared`. */
  start(): Promise<void>;
  /** Close the channels and stop the server. */
  close(): Promise<void>;
}

const LINK_MS = 20_000;

abstract class OpenLink implements Link {
  readonly #channels: Channel[] = [];
  channel!: Channel;
  server: Child | undefined;
  address: string | undefined;
  /** What every client must be given. */
  protected readonly connectOptions: TransportOptions = {};

  abstract start(): Promise<void>;
  abstract stop(): Promise<void>;

  async connect(options?: ConnectOptions): Promise<Channel> {
    if (this.address === undefined) throw new Error("nobody but the parent can connect to this server");
    const connecting = connect(this.address, { ...clientOptions, ...this.connectOptions, ...options });
    const channel = await within(LINK_MS, connecting, `a channel to ${this.address}`);
    this.#channels.push(channel);
    return channel;
  }

  async close(): Promise<void> {
    const channels = new Set([this.channel, ...this.#channels]);
    const closed = Promise.all([...channels].map((channel) => channel.close()));
    await within(LINK_MS, closed, "the close of every channel");
    await this.stop();
  }
}

/** Wait for the end of a server that was told to close or has nobody left to serve: by itself, without complaint. */
async function ended(server: Child): Promise<void> {
  const { code, signal } = await within(LINK_MS, server.exited, `the end of the server\n${server.stderr}`);
  // SIGTERM has its default effect again once Node is on its way out.
  if (signal !== "SIGKILL" && signal !== "SIGTERM" && code !== 0) {
    throw new Error(`the server ended with ${signal ?? code} instead of 0\n${server.stderr}`);
  }
}

/** A server in a process of its own at an address. */
class ListeningLink extends OpenLink {
  readonly #directory = mkdtempSync(join(tmpdir(), "sluice-"));
  /** Where the server is told to listen: from its first start on where it listened then. */
  #site: string;
  readonly #options: readonly string[];
  readonly #through: readonly string[];

  constructor(
    address: (directory: string) => string,
    options: OpenOptions["server"] = {},
    listenOptions: TransportOptions = {},
    protected override readonly connectOptions: TransportOptions = {},
    through: readonly string[] = [],
  ) {
    super();
    this.#through = through;
    this.#options = [JSON.stringify(options), JSON.stringify(listenOptions)];
    this.#site = address(this.#directory);
  }

  async start(): Promise<void> {
    const args = [this.#site, ...this.#options];
    this.server = Child.run("server", args, { through: this.#through });
    this.#site = await this.server.line();
    this.address = await this.reach(this.#site);
  }

  /** What clients connect to who want to get to `site`. Called at each start. */
  protected async reach(site: string): Promise<string> {
    return site;
  }

  async stop(): Promise<void> {
    const server = this.server!;
    server.kill("SIGTERM");
    await ended(server);
    const left = readdirSync(this.#directory);
    // A killed process cannot clean up; the next one takes over what it left.
    if (server.process.signalCode !== "SIGKILL" && left.length > 0) {
      throw new Error(`the server left ${left.join(", ")} behind`);
    }
  }

  override async close(): Promise<void> {
    try {
      await super.close();
    } finally {
      const server = this.server!;
      await server.destroy();
      rmSync(this.#directory, { recursive: true });
      if (server.process.signalCode === "SIGKILL" && /^(sysv)?mq:/.test(this.#site))
        await this.#removeQueues();
    }
  }

  /** What a killed server has left in the kernel is removed by whoever comes to it next, which may have been nobody. */
  async #removeQueues(): Promise<void> {
    const refused = connect(this.address!, this.connectOptions).then(
      () => Promise.reject(new Error(`somebody listens at ${this.address} although its server was killed`)),
      (error: unknown) => {
        if (!(error instanceof RpcError && error.code === Status.UNAVAILABLE)) throw error;
      },
    );
    await within(LINK_MS, refused, `that nobody listens at ${this.address}`);
  }
}

/** How a parent and its child are connected. */
type Over = "pipe:" | "stdio:";

/** A server that is a child of the process that holds the channel. */
class SpawnedLink extends OpenLink {
  readonly #scheme: Over;
  readonly #options: OpenOptions;

  constructor(scheme: Over, options: OpenOptions) {
    super();
    this.#scheme = scheme;
    this.#options = options;
  }

  async start(): Promise<void> {
    const { server = {}, client = {} } = this.#options;
    const args = ["--expose-gc", programPath("server"), this.#scheme, JSON.stringify(server)];
    const child = await within(
      LINK_MS,
      spawn(process.execPath, args, { ...client, over: this.#scheme, stdio: ["ignore", "ignore", "pipe"] }),
      `a channel to a child by ${this.#scheme}`,
    );
    this.server = new Child(child.process);
    this.channel = child.channel;
  }

  stop(): Promise<void> {
    return ended(this.server!);
  }
}

/** A server in this process. */
class LocalLink extends OpenLink {
  #server: Server | undefined;
  readonly #options: OpenOptions["server"];

  constructor(address: string, options: OpenOptions["server"]) {
    super();
    this.address = address;
    this.#options = options;
  }

  async start(): Promise<void> {
    const server = createServer(this.#options);
    addServices(server, (options) => void server.close(options));
    await server.listen(this.address!);
    this.#server = server;
  }

  stop(): Promise<void> {
    return within(LINK_MS, this.#server!.close(), "the server's close");
  }
}

/** A carrier by which many clients reach one server. */
function shared(name: string, crossing: boolean, link: (options: OpenOptions) => OpenLink): Carrier {
  return {
    name,
    crossing,
    shared: true,
    async open(options = {}) {
      const opened = link(options);
      await opened.start();
      opened.channel = await opened.connect(options.client);
      return opened;
    },
  };
}

/** A transport whose server listens at an address of its own; `address` may name files in `directory`. */
function listening(
  name: string,
  address: (directory: string) => string,
  options?: TransportOptions,
): Carrier {
  return shared(name, true, ({ server }) => new ListeningLink(address, server, options));
}

/** UDP, where a silent peer is missed sooner than by default unless the test is `patient`. */
class UdpLink extends ListeningLink {
  constructor(
    { server, patient = false }: OpenOptions,
    options: TransportOptions = {},
    at = host,
    through?: readonly string[],
  ) {
    super(() => `udp://${at}:0`, server, { ...options, ...(!patient && IDLE) }, options, through);
  }
}

/** UDP to a server in a network namespace whose packets are lost now and then. */
class LossyLink extends UdpLink {
  constructor(options: OpenOptions) {
    const { far, through } = lossyNamespace();
    super(options, { insecure: true }, far, through);
  }
}

/** The same from far away. */
class FarLink extends LossyLink {
  #way: Child | undefined;
  #wayAddress: string | undefined;

  protected override async reach(site: string): Promise<string> {
    const args = [lossyNamespace().near, site, String(ROUND_TRIP_MS / 2)];
    this.#way ??= Child.run("delay", args, { stdin: "pipe" });
    return (this.#wayAddress ??= await this.#way.line());
  }

  override async close(): Promise<void> {
    try {
      await super.close();
    } finally {
      await this.#way!.destroy();
    }
  }
}

/** A transport inside one process. */
function inProcess(name: string): Carrier {
  return shared(name, false, ({ server }) => new LocalLink(name + randomUUID(), server));
}

/** A transport between a parent and a child that it spawned: one server process per channel. */
function spawned(name: Over): Carrier {
  return {
    name,
    crossing: true,
    shared: false,
    async open(options = {}) {
      const opened = new SpawnedLink(name, options);
      await opened.start();
      return opened;
    },
  };
}

const hasIpv6 = Object.values(networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === "::1"),
);

/**
 * Without the addon a server learns of its clients' death by their silence alone. Longer than a process of a busy machine waits for
 * its turn, if it does not itself work for long without a look at its socket.
 */
const IDLE = { idleTimeoutMs: 4000 };
const ROUND_TRIP_MS = 20;
const SECRET = { secret: "5e".repeat(32) };

const shm = (directory: string): string => `shm:${directory}/server.shm`;

/** Every carrier there is; without the addon, those that are made of other pieces then. A new transport is one more line. */
export const carriers: readonly Carrier[] = [
  listening("unix:", (directory) => `unix:${directory}/server.sock`),
  {
    ...listening("tcp://127.0.0.1", () => `tcp://${host}:0`),
    // Node's own streams hide what tells them apart.
    ...(!native && { like: "unix:" }),
  },
  shared("udp://127.0.0.1", true, (options) => new UdpLink(options)),
  spawned("pipe:"),
  spawned("stdio:"),
  { ...listening("auto:", () => `auto:sluice-test-${randomUUID()}`), like: native ? "shm:" : "unix:" },
  ...(native
    ? [
        inProcess("memory:"),
        { ...listening("unix:@", () => `unix:@sluice-test-${randomUUID()}`), like: "unix:" },
        ...(hasIpv6 ? [{ ...listening("tcp://[::1]", () => "tcp://[::1]:0"), like: "tcp://127.0.0.1" }] : []),
        { ...listening("tls://127.0.0.1", () => `tls://${host}:0`, serverOptions), costly: true },
        {
          ...shared("udp: (secret)", true, (options) => new UdpLink(options, SECRET)),
          like: "udp://127.0.0.1",
        },
        ...(namespaceUnavailable === undefined
          ? ([
              {
                ...shared("udp: (5 % loss)", true, (options) => new LossyLink(options)),
                like: "udp://127.0.0.1",
              },
              {
                ...shared(`udp: (5 % loss, ${ROUND_TRIP_MS} ms)`, true, (options) => new FarLink(options)),
                like: "udp://127.0.0.1",
                far: true,
              },
            ] as const)
          : []),
        { ...listening("shm:", shm), lends: true },
        {
          // Rings that are full most of the time, of the other kinds of memory.
          ...listening("shm: (posix, small)", shm, { segment: "posix", capacity: 64 << 10, poll: { us: 0 } }),
          like: "shm:",
        },
        { ...listening("shm: (sysv, small)", shm, { segment: "sysv", capacity: 64 << 10 }), like: "shm:" },
        { ...listening("mmap:", (directory) => `mmap:${directory}/server.mmap`), like: "shm:" },
        listening("fifo:", (directory) => `fifo:${directory}/server.fifo`),
        {
          ...listening("mq:", () => `mq:/sluice-test-${randomUUID()}`),
          costly: true,
          fewConnections: true,
        },
        {
          ...listening("sysvmq:", () => `sysvmq:${randomInt(1, 2 ** 31)}`),
          costly: true,
          fewConnections: true,
        },
      ]
    : []),
];

/** Limits for the tests of large messages, to be given to both ends. */
export const LARGE: Partial<Limits> = { maxMessageBytes: (64 << 20) + 1024 };
