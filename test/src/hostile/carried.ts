/**
 * A connection of a transport as a stream of bytes, for who makes his frames by hand: what is hostile here is what the carrier
 * carries. Who breaks the rules of message queues themselves is in `packages/transports/test/queue-suite.ts`.
 */
import { Duplex } from "node:stream";
import type { Connection, ConnectionHandler } from "@sluice/core";
import { transports } from "@sluice/transports";

export class CarriedStream extends Duplex implements ConnectionHandler {
  readonly #connection: Connection;
  #unwritten: Buffer = Buffer.alloc(0);
  #written: (() => void) | undefined;

  private constructor(connection: Connection) {
    super({ allowHalfOpen: false });
    this.#connection = connection;
    connection.start(this);
  }

  static async connect(address: string): Promise<CarriedStream> {
    const scheme = address.slice(0, address.indexOf(":"));
    const transport = transports.find((one) => one.scheme === scheme)!;
    return new CarriedStream(await transport.connect(address, {}));
  }

  onFrame(memory: Uint8Array, start: number, end: number): void {
    this.push(Buffer.from(memory.subarray(start, end)));
  }

  onWritable(): void {
    this.#send();
  }

  onClose(): void {
    this.push(null);
    this.destroy();
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, written: () => void): void {
    this.#unwritten = bytes;
    this.#written = written;
    this.#send();
  }

  #send(): void {
    const connection = this.#connection;
    while (this.#unwritten.length > 0) {
      const size = Math.min(this.#unwritten.length, 16 << 10);
      if (!connection.reserve(size)) return;
      connection.memory.set(this.#unwritten.subarray(0, size), connection.rangeStart);
      connection.commit(size);
      this.#unwritten = this.#unwritten.subarray(size);
    }
    connection.flush();
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  override _final(finished: () => void): void {
    this.#connection.close();
    finished();
  }

  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    this.#connection.destroy();
    destroyed(error);
  }
}
