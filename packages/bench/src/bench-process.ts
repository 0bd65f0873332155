/** The processes that are measured, and how the driver speaks to them: over Node's IPC channel, never while they are timed. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { environment, type Placement } from "./placement.js";

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;

/** What a process sends for each request, and once by itself, when it is ready. */
export type Reply<T> = { readonly value: T } | { readonly error: string };

export interface StartOptions {
  /** Flags for Node, after those that this process was started with. */
  readonly nodeOptions?: readonly string[];
  /** A command that runs the rest of its command line, such as `prlimit --nofile=20000`. */
  readonly prefix?: readonly string[];
  /** Where servers and clients run. Default: wherever the kernel likes. */
  readonly placement?: Placement | undefined;
}

/** Driver's side: one process. */
export class BenchProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Start `script` (a module beside this one) and wait until it is ready. */
  static async start(
    script: string,
    args: readonly string[],
    { nodeOptions = [], prefix = [], placement }: StartOptions = {},
  ): Promise<BenchProcess> {
    const path = fileURLToPath(new URL(script, import.meta.url));
    const [execPath, ...execArgv] = [...prefix, process.execPath, ...process.execArgv, ...nodeOptions];
    const child = fork(path, args, {
      execPath,
      execArgv,
      env: { ...process.env, ...environment(placement) },
    });
    const started = new BenchProcess(child);
    try {
      await started.#reply<void>(START_TIMEOUT_MS);
      return started;
    } catch (error) {
      await started.stop();
      throw new Error(`${script} ${args.join(" ")} did not start`, { cause: error });
    }
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Send a request, and wait for its answer. One at a time. */
  ask<T>(request: object, timeoutMs: number): Promise<T> {
    this.#child.send(request);
    return this.#reply<T>(timeoutMs);
  }

  /** Let it close what it holds and end; end it by force if it does not. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exit = once(child, "exit");
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => {
      console.error(`process ${child.pid} (${child.spawnargs.slice(2).join(" ")}) did not end; killing it`);
      child.kill("SIGKILL");
    }, STOP_TIMEOUT_MS);
    await exit;
    clearTimeout(timer);
  }

  #reply<T>(timeoutMs: number): Promise<T> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const settle = (action: () => void) => {
        clearTimeout(timer);
        child.removeListener("message", onMessage);
        child.removeListener("exit", onExit);
        child.removeListener("error", onError);
        action();
      };
      const onMessage = (reply: Reply<T>) =>
        settle(() => ("error" in reply ? reject(new Error(reply.error)) : resolve(reply.value)));
      const onExit = (code: number | null, signal: string | null) =>
        settle(() => reject(new Error(`the process ended by itself: ${signal ?? `exit ${code}`}`)));
      const onError = (error: Error) => settle(() => reject(error));
      const timer = setTimeout(
        () => settle(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`))),
        timeoutMs,
      );
      child.on("message", onMessage);
      child.on("exit", onExit);
      child.on("error", onError);
    });
  }
}

/**
 * What a terminal sends to every process of its group is for the driver to act on: this process ends in order when the driver lets
 * go, and not before it has removed what it made.
 */
export function leaveSignalsToDriver(): void {
  for (const signal of ["SIGINT", "SIGHUP"]) process.on(signal, () => {});
}

/**
 * The process's side: say when `start` is done, answer requests with `answer`, and `close` when the driver lets go. What is then still
 * under way, such as a connection being made, may never end by itself, and nobody waits for it: the process does not, either.
 */
export async function answerDriver<Request>(
  start: () => Promise<void>,
  answer: (request: Request) => Promise<unknown>,
  close: () => Promise<void>,
): Promise<void> {
  let unanswered = 0;
  const end = async () => {
    const interrupted = unanswered > 0;
    await close();
    if (interrupted) process.exit();
  };
  process.once("disconnect", () => void end());
  process.on("message", (request) => {
    unanswered++;
    void reply(() => answer(request as Request)).finally(() => unanswered--);
  });
  await reply(start);
}

async function reply(work: () => Promise<unknown>): Promise<void> {
  let answer: Reply<unknown>;
  try {
    answer = { value: await work() };
  } catch (error) {
    answer = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  // Without a driver there is nobody to tell.
  if (process.connected) process.send!(answer);
}
