import type { MessageQueue, QueueHandler } from "@sluice/native";
import type { QueueChannel } from "./channel.js";
import { HEADER_BYTES, VERSION } from "./message.js";

/** What a message is that is for no connection: `memory[start..end)` is valid until the call returns. */
export type OtherMessage = (
  kind: number,
  secret: number,
  limit: number,
  memory: Uint8Array,
  start: number,
  end: number,
) => void;

/** A queue that this process receives from: hands each message to the connection that it is for. */
export class Inbound implements QueueHandler {
  /** How many bytes of a message take one slot. */
  readonly slotBytes: number;
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #other: OtherMessage;
  readonly #channels = new Map<number, QueueChannel>();
  readonly #keepers = new Set<unknown>();
  #queue: MessageQueue | undefined;
  #listening = false;

  /** `memory` is where messages are received, and `other` takes those to the connection 0. */
  constructor(memory: Uint8Array, slotBytes: number, other: OtherMessage) {
    this.#memory = memory;
    this.#view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.slotBytes = slotBytes;
    this.#other = other;
  }

  /** Begins to receive from `queue`, which is closed when there is no connection any more, and `stopListening` was called. */
  listen(queue: MessageQueue, pollUs: number): void {
    this.#queue = queue;
    queue.poll(pollUs);
    this.#listening = true;
    queue.start();
  }

  stopListening(): void {
    this.#listening = false;
    this.#closeUnused();
  }

  add(channel: QueueChannel): void {
    this.#channels.set(channel.self.connection, channel);
  }

  remove(channel: QueueChannel): void {
    this.#channels.delete(channel.self.connection);
    this.keepAlive(channel, false);
    this.#closeUnused();
  }

  has(connection: number): boolean {
    return this.#channels.has(connection);
  }

  #closeUnused(): void {
    if (!this.#listening && this.#channels.size === 0) this.#queue?.close();
  }

  /** Whether `keeper` wants the event loop kept alive. */
  keepAlive(keeper: unknown, on: boolean): void {
    if (on) this.#keepers.add(keeper);
    else this.#keepers.delete(keeper);
    if (this.#keepers.size > 0) this.#queue?.ref();
    else this.#queue?.unref();
  }

  /** Sends to this queue itself. False when it is full, undefined when it is gone. */
  send(header: Uint8Array): boolean | undefined {
    try {
      return this.#queue?.send(header);
    } catch {
      return undefined;
    }
  }

  onMessages(end: number): void {
    const memory = this.#memory;
    const view = this.#view;
    let last: QueueChannel | undefined;
    for (let at = 0; at < end;) {
      const start = at + 4;
      at = start + view.getUint32(at, true);
      if (at - start < HEADER_BYTES || view.getUint8(start + 15) !== VERSION) continue;
      const connection = view.getUint32(start, true);
      const secret = view.getUint32(start + 4, true);
      const limit = view.getUint32(start + 8, true);
      const kind = view.getUint8(start + 14);
      if (connection === 0) {
        this.#other(kind, secret, limit, memory, start + HEADER_BYTES, at);
        continue;
      }
      const channel = this.#channels.get(connection);
      // Of a connection that is over, or forged.
      if (channel === undefined || channel.self.secret !== secret) continue;
      if (channel !== last) last?.pass();
      last = channel;
      channel.take(kind, limit, view.getUint16(start + 12, true), memory, start + HEADER_BYTES, at);
    }
    last?.pass();
  }

  onRoom(): void {}

  onError(): void {
    for (const channel of [...this.#channels.values()]) channel.onNothingMore();
  }
}
