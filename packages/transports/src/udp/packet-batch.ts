import { PACKET_BYTES } from "./packet.js";
import {
  ADDRESS,
  LENGTH,
  NEXT,
  RECORD_HEADER_BYTES,
  SEGMENT,
  type PacketSender,
  type Route,
} from "./socket.js";

/** What one record holds at most: the kernel takes 64 KiB and 64 datagrams at once (udp(7), UDP_SEGMENT). */
const RECORD_BYTES = 54 * PACKET_BYTES;
const BATCH_BYTES = 256 * 1024;

/** Datagrams to be sent, put together in place. One is enough for a thread: nothing stays in it. */
export class PacketBatch {
  readonly memory = new Uint8Array(BATCH_BYTES);
  readonly #words = new Int32Array(this.memory.buffer);
  #end = 0;
  /** Where the last record begins, for whom it is, and whether another packet may follow in it. */
  #record = 0;
  #route: Route | undefined;
  #open = false;

  /** Where the next packet, of up to PACKET_BYTES, is to be written. */
  begin(sender: PacketSender, route: Route): number {
    if (this.#open && this.#route === route) {
      if (this.#words[(this.#record >> 2) + LENGTH]! + PACKET_BYTES <= RECORD_BYTES) return this.#end;
    }
    this.#end = (this.#end + 3) & ~3;
    if (this.#end + RECORD_HEADER_BYTES + RECORD_BYTES > BATCH_BYTES) this.send(sender);
    this.#record = this.#end;
    this.#route = route;
    this.#words[(this.#record >> 2) + LENGTH] = 0;
    this.#words.set(route, (this.#record >> 2) + ADDRESS);
    return (this.#end = this.#record + RECORD_HEADER_BYTES);
  }

  /** The packet is `bytes` long. */
  commit(bytes: number): void {
    const header = this.#record >> 2;
    if (this.#words[header + LENGTH] === 0) this.#words[header + SEGMENT] = bytes;
    this.#words[header + LENGTH]! += bytes;
    this.#end += bytes;
    this.#words[header + NEXT] = ((this.#end + 3) & ~3) - this.#record;
    this.#open = bytes === PACKET_BYTES;
  }

  /** Hands everything to the socket. */
  send(sender: PacketSender): void {
    if (this.#end > 0) sender.send(this.memory, this.#end);
    this.#end = 0;
    this.#open = false;
    this.#route = undefined;
  }
}
