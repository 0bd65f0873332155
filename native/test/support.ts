/** What the addon's tests share. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  native as loaded,
  nativeUnavailable,
  type ByteChannel,
  type ByteChannelOptions,
  type ByteHandler,
  type Native,
  type SystemError,
  type WriteSlab,
} from "@sluice/native";

/** The addon, for tests that begin with `needsAddon`. */
export const native = loaded as Native;

/** To be called in a suite: skips it where there is no addon, and bounds its tests' time, children's included. */
export function needsAddon(suite: Mocha.Suite): void {
  suite.timeout(30_000);
  before(function () {
    if (loaded === undefined) {
      console.log(`    skipped: ${nativeUnavailable}`);
      this.skip();
    }
  });
}

/** A channel with its handler: records what it is told, and lets tests wait for it. */
export class Peer implements ByteHandler {
  readonly channel: ByteChannel;
  readonly events: string[] = [];
  readonly errors: SystemError[] = [];
  readonly fds: number[] = [];
  /** Everything read. */
  received: Buffer = Buffer.alloc(0);
  reads = 0;
  onData: ((bytes: Buffer) => void) | undefined;
  onDrained: (() => void) | undefined;
  #slab: WriteSlab | undefined;
  #waiting: { condition: () => boolean; resolve: () => void }[] = [];

  constructor(readFd: number, writeFd = readFd, options: ByteChannelOptions & { start?: boolean } = {}) {
    this.channel = new native.ByteChannel(readFd, writeFd, this, options);
    if (options.start !== false) this.channel.start();
  }

  /** The slab, taken if need be. */
  get slab(): WriteSlab {
    if (this.#slab?.words[2] !== this.channel.id) this.#slab = this.channel.acquire();
    return this.#slab;
  }

  get owns(): boolean {
    return this.#slab?.words[2] === this.channel.id;
  }

  /** Append to the slab as much of `bytes` as there is room for; returns how much that was. */
  write(bytes: Uint8Array | string): number {
    const data = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    const { memory, words } = this.slab;
    const count = Math.min(data.length, memory.length - words[1]);
    memory.set(data.subarray(0, count), words[1]);
    words[1] += count;
    return count;
  }

  /** Write and flush, in pieces as big as a slab, until the kernel takes no more; returns how much was written. */
  fill(): number {
    const bytes = Buffer.alloc(this.slab.memory.length - 16, 1);
    let written = 0;
    do {
      written += this.write(bytes);
      this.channel.flush();
    } while (!this.owns);
    return written;
  }

  /** Write all of `bytes`, waiting for room as often as it takes. */
  async writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; ;) {
      at += this.write(bytes.subarray(at));
      if (at === bytes.length) return;
      await this.drained();
    }
  }

  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.onDrained = resolve;
      this.channel.wantWritable();
    });
  }

  /** Resolves once `condition` holds, which is tried after each thing told. The test's own time limit bounds it. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ condition, resolve }));
  }

  untilReceived(bytes: number): Promise<void> {
    return this.until(() => this.received.length >= bytes);
  }

  onRead(end: number): number {
    this.reads++;
    const bytes = Buffer.from(native.readSlab.subarray(0, end));
    if (this.onData !== undefined) this.onData(bytes);
    else this.received = Buffer.concat([this.received, bytes]);
    this.#told("read");
    return 0;
  }

  onWritable(): void {
    const resolve = this.onDrained;
    this.onDrained = undefined;
    resolve?.();
    this.#told("writable");
  }

  onEnd(): void {
    this.#told("end");
  }

  onError(error: SystemError): void {
    this.errors.push(error);
    this.#told("error");
  }

  onDescriptors(fds: number[]): void {
    this.fds.push(...fds);
    this.#told("descriptors");
  }

  #told(event: string): void {
    this.events.push(event);
    this.#waiting = this.#waiting.filter(({ condition, resolve }) => {
      if (!condition()) return true;
      resolve();
      return false;
    });
  }
}

/** How two ends are connected: by a socket, or by two pipes. Returns what each end reads from and writes to. */
export const carriers: Record<string, () => [[number, number], [number, number]]> = {
  "a socket": () => {
    const [left, right] = native.socketPair();
    return [
      [left, left],
      [right, right],
    ];
  },
  "two pipes": () => {
    const [leftReads, rightWrites] = native.pipe2();
    const [rightReads, leftWrites] = native.pipe2();
    return [
      [leftReads, leftWrites],
      [rightReads, rightWrites],
    ];
  },
};

/** What this process has open, by number. The descriptor that reads the list is not in it. */
export function openDescriptors(): Map<number, string> {
  const open = new Map<number, string>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      open.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return open;
}

/** A turn of the event loop, close callbacks included. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

/** A directory that is removed after the test that calls this in `beforeEach`. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "sluice-"));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** The compiled programs/NAME. */
export function program(name: string): string {
  return fileURLToPath(new URL(`programs/${name}.js`, import.meta.url));
}

/** Runs programs/NAME with `fds` as its descriptors from 3 on. */
export function runProgram(
  name: string,
  args: string[] = [],
  options: { fds?: number[]; env?: NodeJS.ProcessEnv; shell?: string } = {},
): Promise<Outcome> {
  const command = [process.execPath, program(name), ...args];
  const [file, ...rest] =
    options.shell === undefined
      ? command
      : ["/bin/sh", "-c", `${options.shell}; exec "$@"`, "sh", ...command];
  const child = spawn(file, rest, {
    stdio: ["ignore", "pipe", "pipe", ...(options.fds ?? [])],
    env: { ...process.env, ...options.env },
  });
  return new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    child.stdout!.on("data", (text) => (stdout += String(text)));
    child.stderr!.on("data", (text) => (stderr += String(text)));
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
