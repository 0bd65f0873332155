/** Sluice for Node.js: the core with every transport of @sluice/transports registered. */
import type { ChildProcess } from "node:child_process";
import {
  RpcError,
  Server,
  Status,
  SyncChannel,
  connectOver,
  connectWith,
  transportOf,
  type Channel,
  type ChannelOptions,
  type ConnectOptions,
  type EndpointOptions,
  type ServiceDefinition,
  type SyncChannelOptions,
  type SyncClient,
  type TransportOptions,
} from "@sluice/core";
import { installPlatform } from "@sluice/core/protobuf";
import {
  nativeUnavailable,
  spawn as spawnConnected,
  transports,
  type SpawnOptions as ProcessOptions,
} from "@sluice/transports";
import { nodePlatform } from "./platform.js";

export * from "@sluice/core";
export { transports, type AllowPeer } from "@sluice/transports";

installPlatform(nodePlatform);

/** A server that can listen at every address of `transports`. Throws INVALID_ARGUMENT for an unknown or bad option. */
export function createServer(options: EndpointOptions = {}): Server {
  return new Server(transports, options);
}

/**
 * Connect to `address`. Rejects with an `RpcError` if the first attempt fails, unless `waitForReady`; later losses
 * reconnect with back-off and jitter, where the transport can. Close the channel when it is not needed any more.
 */
export function connect(address: string, options: ConnectOptions = {}): Promise<Channel> {
  return connectWith(transports, address, options);
}

/**
 * Options of synchronous clients, and those of the address's transport; of all transports: `poll: { us }`, for how many
 * microseconds at most a call polls before it sleeps (0 to 1,000; default 50).
 */
export type SyncOptions = SyncChannelOptions & Omit<TransportOptions, "signal">;

/**
 * A channel whose calls block the thread, for code that cannot be async, over `shm:`, `mmap:`, `unix:`, `tcp:` and (to the
 * parent that started this process by `spawn`) `pipe:`. It connects when the first call is made, and does not keep the process
 * alive. Throws INVALID_ARGUMENT for an address or option that cannot be, UNIMPLEMENTED where there are no such channels.
 */
export function connectSync(address: string, options: SyncOptions = {}): SyncChannel {
  const transport = transportOf(transports, address);
  const { limits, timeoutMs, ...rest } = options;
  if (transport.connectSync === undefined) {
    throw new RpcError(
      Status.UNIMPLEMENTED,
      nativeUnavailable === ""
        ? `there are no synchronous clients over ${transport.scheme}:; use shm:, mmap:, unix:, tcp: or pipe:`
        : `a synchronous client needs @sluice/native: ${nativeUnavailable}`,
    );
  }
  return new SyncChannel(address, (ms) => transport.connectSync!(address, rest, ms), {
    ...(limits && { limits }),
    ...(timeoutMs !== undefined && { timeoutMs }),
  });
}

/** A synchronous client that closes its own connection. */
export type ClosableSyncClient<S extends ServiceDefinition> = Omit<{ close(): void }, keyof SyncClient<S>> &
  SyncClient<S>;

/**
 * A client of one service whose calls block: see `connectSync`. `close` closes its connection, unless the service has a method
 * of that name, which it then calls: use `connectSync` there, and `close` of the channel.
 *
 *     const config = createSyncClient(ConfigDefinition, "shm:config");
 *     const { value } = config.get({ key: "region" }, { timeoutMs: 100 });
 */
export function createSyncClient<S extends ServiceDefinition>(
  definition: S,
  address: string,
  options: SyncOptions = {},
): ClosableSyncClient<S> {
  const channel = connectSync(address, options);
  const client: unknown = Object.freeze({ close: () => channel.close(), ...channel.client(definition) });
  return client as ClosableSyncClient<S>;
}

/** Options of `spawn`: those of the process, of its pipes (`over`), and of the channel. */
export type SpawnOptions = ProcessOptions & Omit<ChannelOptions, "waitForReady" | "backoff">;

/** A child process and the channel to it. */
export interface Spawned {
  /** Does not reconnect. Closing it does not end the process; a child that only serves it ends by itself then. */
  readonly channel: Channel;
  readonly process: ChildProcess;
}

/**
 * Run a program and connect to it over real anonymous pipes (or its standard input and output, `over: "stdio:"`). The
 * program must listen at `pipe:` (or `stdio:`). Rejects with an `RpcError` if it cannot be run, or ends or stays silent
 * before it listens; the process is killed then.
 */
export async function spawn(
  command: string,
  args: readonly string[] = [],
  options: SpawnOptions = {},
): Promise<Spawned> {
  const { limits, interceptors, keepalive, services, signal, ...processOptions } = options;
  const { connection, process } = await spawnConnected(command, args, {
    ...processOptions,
    ...(signal && { signal }),
  });
  try {
    const channel = await connectOver(connection, {
      ...(limits && { limits }),
      ...(interceptors && { interceptors }),
      ...(keepalive !== undefined && { keepalive }),
      ...(services && { services }),
      ...(signal && { signal }),
    });
    return { channel, process };
  } catch (error) {
    const ended = await ownEnd(process);
    process.kill("SIGKILL");
    throw startError(command, ended, options.over === "stdio:", error);
  }
}

/** Why there is no connection to a child that `ended` so, if it did by itself, given what connecting to it failed with. */
function startError(command: string, ended: string | undefined, stdio: boolean, error: unknown): unknown {
  if (!(error instanceof RpcError) || error.code !== Status.UNAVAILABLE) return error;
  // What it said was wrong, and not that it said nothing: how it ended does not explain that.
  const spoke =
    (error.cause instanceof RpcError && error.cause.code === Status.INTERNAL) ||
    error.message.endsWith("inside a frame");
  if (!spoke) {
    if (ended === undefined) return error;
    return new RpcError(error.code, `${command} ${ended} before it listened`, { cause: error });
  }
  const likely = stdio ? `; ${command} has probably printed to its standard output before it listened` : "";
  const end = ended === undefined ? "" : ` (${command} ${ended})`;
  return new RpcError(error.code, error.message + likely + end, { cause: error });
}

/** How long a child whose connection has ended may take to end, so that its end can be told instead. */
const OWN_END_MS = 500;

/** How the process ended, if it does so by itself and soon. */
async function ownEnd(process: ChildProcess): Promise<string | undefined> {
  if (process.exitCode === null && process.signalCode === null) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, OWN_END_MS);
      process.once("exit", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
  if (process.signalCode !== null) return `was killed by ${process.signalCode}`;
  return process.exitCode === null ? undefined : `exited with code ${process.exitCode}`;
}
