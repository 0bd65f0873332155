import {
  spawn as spawnProcess,
  type ChildProcess,
  type SpawnOptions as NodeSpawnOptions,
  type StdioOptions,
} from "node:child_process";
import { RpcError, Status, type Connection } from "@sluice/core";
import { errorCode } from "../errors.js";
import { invalidOption, pollOption, signalOption } from "../options.js";
import type { ChildPipes, Platform } from "../platform/index.js";
import { ChildConnection } from "./connection.js";
import { describePipes } from "./environment.js";

/** Those of `child_process.spawn`, and `over`. */
export interface SpawnOptions extends Omit<NodeSpawnOptions, "stdio" | "signal"> {
  /**
   * `pipe:` (default): two pipes beside the standard streams, which stay free for the child's own use. `stdio:`: the child's
   * standard input and output, so that the child can be written in any language.
   */
  readonly over?: "pipe:" | "stdio:";
  /** As for `child_process.spawn`; default "inherit". Over `stdio:` the first two places belong to the connection. */
  readonly stdio?: StdioOptions;
  /** For how many microseconds at most this end polls before it sleeps: 0 to 1,000, default 50. The child has an option of its own. */
  readonly poll?: { readonly us: number };
  /** Aborted before the child runs, it kills the child and rejects with the signal's reason. No effect later. */
  readonly signal?: AbortSignal;
}

/** A child process and the connection to it. */
export interface Spawned {
  /** Not reconnectable. Its end, however it comes, does not end the process; a child usually ends by itself then. */
  readonly connection: Connection;
  /** Keeps this process alive until it ends, unless the connection (or this) is unreferenced. */
  readonly process: ChildProcess;
}

/**
 * Runs a program with a connection to it, which the program takes by listening at `pipe:` (or `stdio:`). Resolves when it
 * runs. Rejects with an `RpcError`: NOT_FOUND when there is no such program or working directory, PERMISSION_DENIED when it
 * may not be run, INVALID_ARGUMENT for a bad option.
 */
export type Spawn = (command: string, args?: readonly string[], options?: SpawnOptions) => Promise<Spawned>;

export function createSpawn(platform: Platform): Spawn {
  return async (command, args = [], options = {}) => {
    const { over = "pipe:", stdio: given, poll, signal, ...rest } = options;
    if (over !== "pipe:" && over !== "stdio:") throw invalidOption("over", over, '"pipe:" or "stdio:"');
    const pollUs = pollOption({ ...(poll !== undefined && { poll }) });
    signalOption({ ...(signal && { signal }) });
    const stdio = expandStdio(given);
    signal?.throwIfAborted();

    const pipes = platform.pipes.forChild();
    let child: ChildProcess;
    let places: [reads: number, writes: number];
    try {
      places = place(pipes, stdio, over);
      const [readFd, writeFd] = places;
      const env = {
        ...(options.env ?? process.env),
        ...(over === "pipe:" && describePipes({ readFd, writeFd }, pipes.identity)),
      };
      child = spawnProcess(command, args, { ...rest, env, stdio });
      await running(child, signal);
    } catch (error) {
      pipes.destroy();
      if (signal?.aborted) throw signal.reason;
      throw cannotRun(command, error as Error);
    }
    const stream = pipes.open(child, ...places);
    return { connection: new ChildConnection(stream, child, over, pollUs), process: child };
  };
}

/** `stdio` as an array of its own, of at least three places. */
function expandStdio(stdio: StdioOptions = "inherit"): StdioArray {
  if (typeof stdio === "string") return [stdio, stdio, stdio];
  if (!Array.isArray(stdio)) throw invalidOption("stdio", stdio, "a string or an array");
  const array: StdioArray = [...stdio];
  while (array.length < 3) array.push(undefined);
  return array;
}

type StdioArray = Exclude<StdioOptions, string>;

/** Puts the child's ends into `stdio`; returns their places. */
function place(pipes: ChildPipes, stdio: StdioArray, over: "pipe:" | "stdio:"): [number, number] {
  if (over === "pipe:") return [stdio.push(pipes.childReads) - 1, stdio.push(pipes.childWrites) - 1];
  stdio[0] = pipes.childReads;
  stdio[1] = pipes.childWrites;
  return [0, 1];
}

function running(child: ChildProcess, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      child.kill("SIGKILL");
      reject(signal!.reason as Error);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    child.once("spawn", () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    child.once("error", (error) => {
      signal?.removeEventListener("abort", onAbort);
      reject(error);
    });
  });
}

function cannotRun(command: string, error: Error): RpcError {
  if (error instanceof RpcError) return error;
  const code = errorCode(error);
  const why = `cannot run ${command}: ${error.message}`;
  if (code === "ENOENT") {
    return new RpcError(Status.NOT_FOUND, `${why} (no such program, or no such working directory)`, {
      cause: error,
    });
  }
  const status =
    code === "EACCES"
      ? Status.PERMISSION_DENIED
      : error instanceof TypeError || code.startsWith("ERR_")
        ? Status.INVALID_ARGUMENT
        : Status.UNAVAILABLE;
  return new RpcError(status, why, { cause: error });
}
