/**
 * A client of `fifo:` as docs/transports.md describes it, for who makes his frames by hand. Nothing here is shared with the
 * implementation that it tests but mkfifo(3), which Node has not.
 */
import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, rmSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import { Duplex } from "node:stream";
import { within } from "../within.js";
import { addon } from "./ring.js";

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

export const ANNOUNCEMENT_MAGIC = Buffer.from("SLFIFO1\n");

export const openToRead = (path: string): number => openSync(path, O_RDONLY | O_NONBLOCK);
export const openToWrite = (path: string): number => openSync(path, O_WRONLY | O_NONBLOCK);

export function makeFifo(path: string): void {
  const directory = addon().openDirectory(dirname(path));
  addon().makeFifoAt(directory, basename(path), 0o600);
  addon().closeFd(directory);
}

/** The path of the rendezvous of `fifo:PATH`. */
export function rendezvousPath(address: string): string {
  return address.slice("fifo:".length);
}

/** Write into a rendezvous, as one piece if it is short. */
export function announce(address: string, ...parts: readonly Buffer[]): void {
  const fd = openToWrite(rendezvousPath(address));
  writeSync(fd, Buffer.concat(parts));
  closeSync(fd);
}

/** The FIFOs that a token stands for. */
export function privatePaths(address: string, token: Buffer): { up: string; down: string } {
  const stem = join(dirname(rendezvousPath(address)), `.sluice-${token.toString("hex")}`);
  return { up: `${stem}.up`, down: `${stem}.down` };
}

/** A connection by a pair of FIFOs as a stream of bytes. */
export class FifoStream extends Duplex {
  readonly #reader: Socket;
  readonly #writer: Socket;

  /** Takes both descriptors over. */
  constructor(readFd: number, writeFd: number) {
    super({ allowHalfOpen: false });
    this.#reader = new Socket({ fd: readFd, readable: true, writable: false });
    this.#writer = new Socket({ fd: writeFd, readable: false, writable: true });
    for (const socket of [this.#reader, this.#writer]) socket.on("error", (error) => this.destroy(error));
    this.#reader.on("data", (chunk) => this.push(chunk) || this.#reader.pause());
    this.#reader.on("end", () => this.push(null));
  }

  /** Make a pair of FIFOs, announce them, and wait for the server's greeting, which is not part of the stream. */
  static async connect(address: string): Promise<FifoStream> {
    const token = randomBytes(16);
    const { up, down } = privatePaths(address, token);
    for (const path of [up, down]) makeFifo(path);
    const readFd = openToRead(down);
    const spare = openToRead(up);
    const stream = new FifoStream(readFd, openToWrite(up));
    announce(address, ANNOUNCEMENT_MAGIC, token);
    try {
      await within(
        10_000,
        new Promise<void>((resolve, reject) => {
          stream.once("close", () => reject(new Error("the server has hung up")));
          stream.once("readable", () => {
            stream.read(1);
            resolve();
          });
        }),
        `a greeting at ${address}`,
      );
    } catch (error) {
      stream.destroy();
      throw error;
    } finally {
      closeSync(spare);
      for (const path of [up, down]) rmSync(path, { force: true });
    }
    return stream;
  }

  override _read(): void {
    this.#reader.resume();
  }

  override _write(bytes: Buffer, _encoding: string, written: (error?: Error | null) => void): void {
    this.#writer.write(bytes, written);
  }

  override _final(finished: () => void): void {
    this.#writer.end(finished);
  }

  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    this.#reader.destroy();
    this.#writer.destroy();
    destroyed(error);
  }
}
