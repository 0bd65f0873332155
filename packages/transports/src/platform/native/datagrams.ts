import type { DatagramChannel, Native } from "@sluice/native";
import { ADDRESS, type DatagramHandler, type DatagramSocket } from "../../udp/socket.js";
import type { DatagramSockets } from "../index.js";

class NativeDatagrams implements DatagramSocket {
  readonly port: number;
  readonly #channel: DatagramChannel;
  #handler!: DatagramHandler;

  constructor(
    native: Native,
    words: Int32Array,
    address: { readonly address: string; readonly port: number },
    connected: boolean,
  ) {
    this.#channel = new native.DatagramChannel(address, connected, {
      onPackets: (end) => this.#handler.onPackets(native.readSlab, words, end),
      onRefused: () => this.#handler.onRefused(words, ADDRESS),
      onError: (error) => this.#handler.onError(error),
    });
    const bound = this.#channel.address();
    this.port = "port" in bound ? bound.port : 0;
  }

  open(handler: DatagramHandler): void {
    this.#handler = handler;
    this.#channel.start();
  }

  send(memory: Uint8Array, end: number): void {
    this.#channel.send(memory, end);
  }

  close(): void {
    this.#channel.close();
  }

  ref(): void {
    this.#channel.ref();
  }

  unref(): void {
    this.#channel.unref();
  }
}

/** Datagram sockets of `@sluice/native`. */
export function createDatagrams(native: Native): DatagramSockets {
  const { buffer, byteOffset, length } = native.readSlab;
  const words = new Int32Array(buffer, byteOffset, length >> 2);
  return {
    // Packets that the kernel has joined cost it little beside their bytes.
    heldBytes: 320 * 1024,
    bind: async (at) => new NativeDatagrams(native, words, at, false),
    connect: async (to) => new NativeDatagrams(native, words, to, true),
  };
}
