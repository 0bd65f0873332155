import type { DatagramChannel, Native } from "@sluice/native";
import { formatIp, portOf } from "../../udp/route.js";
import { ADDRESS, SCOPE, type DatagramHandler, type DatagramSocket, type Route } from "../../udp/socket.js";
import type { DatagramSockets, IpAddress } from "../index.js";

/** How much of a full socket's memory is bytes of full packets, which mostly come joined. Measured on loopback. */
const PACKETS_SHARE = 0.75;

class NativeDatagrams implements DatagramSocket {
  readonly port: number;
  readonly heldBytes: number;
  readonly #channel: DatagramChannel;
  #handler!: DatagramHandler;

  constructor(native: Native, words: Int32Array, address: IpAddress, connected: boolean, pollUs: number) {
    const handler = {
      onPackets: (end: number) => this.#handler.onPackets(native.readSlab, words, end),
      onRefused: () => this.#handler.onRefused(words, ADDRESS),
      onError: (error: Error) => this.#handler.onError(error),
    };
    this.#channel = new native.DatagramChannel(address, connected, handler, pollUs);
    const bound = this.#channel.address();
    this.port = "port" in bound ? bound.port : 0;
    this.heldBytes = Math.floor(this.#channel.receiveBufferBytes() * PACKETS_SHARE);
  }

  largestDatagram(route: Route): number {
    const scope = route[SCOPE];
    const address = formatIp(route) + (scope === 0 ? "" : `%${scope}`);
    try {
      return this.#channel.largestDatagram({ address, port: portOf(route) });
    } catch {
      // There is no route now.
      return 0;
    }
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
    bind: async (at, pollUs) => new NativeDatagrams(native, words, at, false, pollUs),
    connect: async (to, pollUs) => new NativeDatagrams(native, words, to, true, pollUs),
  };
}
