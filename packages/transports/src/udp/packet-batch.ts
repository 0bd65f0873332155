import { LARGEST_PACKET_BYTES } from "./path-mtu.js";
import {
  ADDRESS,
  LENGTH,
  NEXT,
  RECORD_HEADER_BYTES,
  SEGMENT,
  type PacketSender,
  type Route,
} from "./socket.js";

/**
 * What one record holds at most. The kernel takes 64 datagrams at once, of which all are full but the last, and 65,507 bytes (udp(7),
 * UDP_SEGMENT); with headers of more than 64 KiB it cuts them up before the peer's socket, which then reads each by itself.
 */
const RECORD_BYTES = 4 * LARGEST_PACKET_BYTES;
const BATCH_BYTES = 256 * 1024;

/** Datagrams to be sent, put together in place. One is enough for a thread: nothing stays in it. */
export class PacketBatch {
  readonly memory = new Uint8Array(BATCH_BYTES);
  readonly #words = new Int32Array(this.memory.buffer);
  #end = 0;
  /** By whom everything in it is to be sent. */
  #sender: PacketSender | undefined;
  /** Where the last record begins, for whom it is, and whether another packet may follow in it. */
  #record = 0;
  #route: Route | undefined;
  #open = false;

  /** Where the next packet, of up to `bytes`, is to be written. What others have put here leaves first. */
  begin(sender: PacketSender, route: Route, bytes: number): number {
    if (sender !== this.#sender) this.send();
    if (this.#open && this.#route === route) {
      const header = this.#record >> 2;
      const fits = this.#words[header + LENGTH]! + bytes <= RECORD_BYTES;
      if (fits && bytes <= this.#words[header + SEGMENT]!) return this.#end;
    }
    this.#end = (this.#end + 3) & ~3;
    if (this.#end + RECORD_HEADER_BYTES + RECORD_BYTES > BATCH_BYTES) this.send();
    this.#sender = sender;
    this.#record = this.#end;
    this.#route = route;
    this.#words[(this.#record >> 2) + LENGTH] = 0;
    this.#words.set(route, (this.#record >> 2) + ADDRESS);
    return (this.#end = this.#record + RECORD_HEADER_BYTES);
  }

  /** The packet is `bytes` long. Others may leave together with it if it is `full`, which have the same length, but for the last. */
  commit(bytes: number, full: boolean): void {
    const header = this.#record >> 2;
    if (this.#words[header + LENGTH] === 0) this.#words[header + SEGMENT] = bytes;
    this.#words[header + LENGTH]! += bytes;
    this.#end += bytes;
    this.#words[header + NEXT] = ((this.#end + 3) & ~3) - this.#record;
    this.#open = full && bytes === this.#words[header + SEGMENT];
  }

  /** Hands everything to the socket. */
  send(): void {
    if (this.#end > 0) this.#sender!.send(this.memory, this.#end);
    this.#end = 0;
    this.#open = false;
    this.#route = undefined;
    this.#sender = undefined;
  }
}
