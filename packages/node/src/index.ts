/** Sluice for Node.js: the core with every transport of @sluice/transports registered. */
import type { ChildProcess } from "node:child_process";
import {
  RpcError,
  Server,
  Status,
  connectOver,
  connectWith,
  type Channel,
  type ChannelOptions,
  type ConnectOptions,
  type EndpointOptions,
} from "@sluice/core";
import { installPlatform } from "@sluice/core/protobuf";
import { spawn as spawnConnected, transports, type SpawnOptions as ProcessOptions } from "@sluice/transports";
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
  const { limits, interceptors, keepalive, signal, ...processOptions } = options;
  const { connection, process } = await spawnConnected(command, args, {
    ...processOptions,
    ...(signal && { signal }),
  });
  try {
    const channel = await connectOver(connection, {
      ...(limits && { limits }),
      ...(interceptors && { interceptors }),
      ...(keepalive !== undefined && { keepalive }),
      ...(signal && { signal }),
    });
    return { channel, process };
  } catch (error) {
    const ended = await ownEnd(process);
    process.kill("SIGKILL");
    if (ended === undefined || !(error instanceof RpcError) || error.code !== Status.UNAVAILABLE) throw error;
    throw new RpcError(Status.UNAVAILABLE, `${command} ${ended} before it listened`, { cause: error });
  }
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
