import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { errorCode } from "../../errors.js";
import { formatIp, portOf, routeTo } from "../../udp/route.js";
import {
  ADDRESS,
  LENGTH,
  NEXT,
  RECORD_HEADER_BYTES,
  ROUTE_WORDS,
  SEGMENT,
  type DatagramHandler,
  type DatagramSocket,
} from "../../udp/socket.js";
import type { DatagramSockets } from "../index.js";

/** The longest datagram there is. */
const DATAGRAM_BYTES = 65_536;
/** What the kernel is asked to hold; it gives what it allows. */
const BUFFER_BYTES = 4 << 20;
/** How much of a full socket's memory is bytes of full packets, each of which comes alone. Measured on loopback. */
const PACKETS_SHARE = 0.45;

/** The one buffer into which every socket of this thread copies what it receives. */
const memory = new Uint8Array(RECORD_HEADER_BYTES + DATAGRAM_BYTES);
const words = new Int32Array(memory.buffer);

/**
 * Datagrams on `node:dgram`, one by one. Node tells of a refusal only on a connected socket: a server learns of a client's death by its
 * silence.
 */
class NodeDatagrams implements DatagramSocket {
  readonly port: number;
  readonly heldBytes: number;
  readonly #socket: Socket;
  readonly #connected: boolean;
  #closed = false;
  /** What cannot be sent is lost, as datagrams may be. That nobody receives is told by the next of them, sent or received. */
  #onFailure: (error: Error | null) => void = () => {};

  constructor(socket: Socket, connected: boolean) {
    this.#socket = socket;
    this.#connected = connected;
    this.port = socket.address().port;
    socket.setRecvBufferSize(BUFFER_BYTES);
    socket.setSendBufferSize(BUFFER_BYTES);
    this.heldBytes = Math.floor(socket.getRecvBufferSize() * PACKETS_SHARE);
    // Until it is opened.
    socket.on("error", this.#onFailure);
  }

  /** Node has no way to keep the kernel from fragmenting. */
  largestDatagram(): number {
    return 0;
  }

  open(handler: DatagramHandler): void {
    this.#onFailure = (error) => {
      if (error !== null && this.#connected && !this.#closed && errorCode(error) === "ECONNREFUSED") {
        handler.onRefused(words, ADDRESS);
      }
    };
    this.#socket.on("error", this.#onFailure);
    this.#socket.on("message", (datagram, from) => {
      words[NEXT] = RECORD_HEADER_BYTES + datagram.length;
      words[LENGTH] = words[SEGMENT] = datagram.length;
      words.set(routeTo(from.address, from.port), ADDRESS);
      memory.set(datagram, RECORD_HEADER_BYTES);
      handler.onPackets(memory, words, RECORD_HEADER_BYTES + datagram.length);
    });
  }

  send(records: Uint8Array, end: number): void {
    const headers = new Int32Array(records.buffer, records.byteOffset, records.length >> 2);
    for (let at = 0; at < end; at += headers[(at >> 2) + NEXT]!) {
      const header = at >> 2;
      const start = at + RECORD_HEADER_BYTES;
      const last = start + headers[header + LENGTH]!;
      const segment = headers[header + SEGMENT]!;
      // Each is copied, since Node may send it later.
      for (let from = start; from < last; from += segment) {
        const datagram = records.slice(from, Math.min(from + segment, last));
        if (this.#connected) this.#socket.send(datagram, this.#onFailure);
        else {
          const route = headers.subarray(header + ADDRESS, header + ADDRESS + ROUTE_WORDS);
          this.#socket.send(datagram, portOf(route), formatIp(route), this.#onFailure);
        }
      }
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.removeAllListeners("message");
    this.#socket.close();
  }

  ref(): void {
    this.#socket.ref();
  }

  unref(): void {
    this.#socket.unref();
  }
}

function make(address: string, connected: boolean, open: (socket: Socket, done: () => void) => void) {
  return new Promise<DatagramSocket>((resolve, reject) => {
    const socket = isIPv6(address)
      ? createSocket({ type: "udp6", ipv6Only: true })
      : createSocket({ type: "udp4" });
    const onError = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once("error", onError);
    open(socket, () => {
      socket.off("error", onError);
      resolve(new NodeDatagrams(socket, connected));
    });
  });
}

/** Datagram sockets on `node:dgram`. */
export const datagrams: DatagramSockets = {
  bind: ({ address, port }) =>
    make(address, false, (socket, done) => socket.bind({ address, port, exclusive: true }, done)),
  connect: ({ address, port }) =>
    make(address, true, (socket, done) => {
      socket.once("connect", done);
      socket.connect(port, address);
    }),
};
