import { spawn, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { within } from "./within.js";

/** How many descriptors a process has open, by proc(5). */
export function descriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Resident memory of a process in bytes, by proc(5). */
export function residentBytes(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
  return Number(kibibytes) * 1024;
}

/** Whether a process exists and has not ended (a zombie has). */
export function isRunning(pid: number): boolean {
  const state = processState(pid);
  return state !== undefined && state !== "Z" && state !== "X";
}

/** The state letter of proc(5), such as `T` for stopped; undefined when there is no such process. */
export function processState(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    if (
      (error as NodeJS.ErrnoException).code === "ENOENT" ||
      (error as NodeJS.ErrnoException).code === "ESRCH"
    )
      return;
    throw error;
  }
  return stat.slice(stat.lastIndexOf(")") + 2)[0];
}

/** The path of a compiled program in `programs/`. */
export function programPath(name: string): string {
  return fileURLToPath(new URL(`./programs/${name}.js`, import.meta.url));
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const STDERR_KEPT = 64 * 1024;

/** Every child that has not ended. */
const children = new Set<Child>();

/** A child process that a test started: its lines on standard output, its standard error, and its end. */
export class Child {
  /** The end of what the process wrote to standard error, printed when a test fails. */
  stderr = "";
  readonly exited: Promise<Exit>;
  readonly #lines: AsyncIterator<string> | undefined;

  /** `output`: what the process prints for `line` to read. */
  constructor(
    readonly process: ChildProcess,
    output?: Readable,
  ) {
    process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr = (this.stderr + text).slice(-STDERR_KEPT);
    });
    children.add(this);
    this.exited = new Promise((resolve, reject) => {
      process.once("exit", (code, signal) => {
        children.delete(this);
        resolve({ code, signal });
      });
      process.once("error", (error) => {
        children.delete(this);
        reject(error);
      });
    });
    // An iterator of an emitter that has lines for it from now on, whether or not anyone has asked yet.
    this.#lines = output && createInterface(output)[Symbol.asyncIterator]();
  }

  /** Run one of `programs/` in a process of its own; by the command `through`, if there is one, which becomes it. */
  static run(
    program: string,
    args: readonly string[],
    options: { stdin?: "ignore" | "pipe"; through?: readonly string[] } = {},
  ): Child {
    const [command, ...rest] = [
      ...(options.through ?? []),
      ...[process.execPath, "--expose-gc", programPath(program), ...args],
    ];
    const child = spawn(command!, rest, {
      stdio: [options.stdin ?? "ignore", "pipe", "pipe"],
    });
    return new Child(child, child.stdout!);
  }

  /** Every child that has not ended. */
  static get running(): readonly Child[] {
    return [...children];
  }

  get pid(): number {
    return this.process.pid!;
  }

  get ended(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  /** The next line of standard output. Rejects, with what is on standard error, when the process ends instead. */
  async line(ms = 20_000): Promise<string> {
    if (this.#lines === undefined) throw new Error("the output of this process is not read");
    const next = await within(ms, this.#lines.next(), `a line from process ${this.pid}\n${this.stderr}`);
    if (!next.done) return next.value;
    const { code, signal } = await this.exited;
    throw new Error(
      `process ${this.pid} ended (${signal ?? code}) instead of printing a line\n${this.stderr}`,
    );
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Stop the process as SIGSTOP does, and return once the kernel says that it stands. */
  async freeze(): Promise<void> {
    this.kill("SIGSTOP");
    const end = performance.now() + 10_000;
    while (processState(this.pid) !== "T") {
      if (performance.now() > end) throw new Error(`process ${this.pid} did not stop`);
      await new Promise(setImmediate);
    }
  }

  thaw(): void {
    this.kill("SIGCONT");
  }

  /** End the process by kill -9, if it has not ended, and wait for its end. */
  async destroy(): Promise<void> {
    if (!this.ended) this.kill("SIGKILL");
    await within(10_000, this.exited, `the end of process ${this.pid} after kill -9`);
  }
}
