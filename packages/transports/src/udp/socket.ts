/**
 * A datagram socket as the protocol sees it: `DatagramChannel` of `@sluice/native`, `NodeDatagrams` on `node:dgram`, and the tests'
 * simulated network.
 *
 * Datagrams pass many at a time, as records in memory, each beginning at a multiple of 4 with a header of 36 bytes. The header's
 * words are how far away the next record is; how many bytes follow; the length of each datagram in them but the last, which may be shorter;
 * and the other end's address. The datagrams follow one another. For a connected socket the address means nothing.
 */
export const RECORD_HEADER_BYTES = 36;
/** Indices of words in a record's header. */
export const NEXT = 0;
export const LENGTH = 1;
export const SEGMENT = 2;
export const ADDRESS = 3;

/**
 * The address of the other end: its family (4 or 6) and, 16 bits higher, its port; the IP address in four words, of which IPv4 takes
 * one; its scope. The bytes of the IP address are in the network's order.
 */
export type Route = Int32Array;
export const ROUTE_WORDS = 6;
/** Index of the scope in it. */
export const SCOPE = 5;

export interface PacketSender {
  /** Sends the records of `memory[0..end)`. What the kernel has no room for is lost, as in a router. `memory` is free again then. */
  send(memory: Uint8Array, end: number): void;
}

/** Whom a socket tells; called only from the event loop. */
export interface DatagramHandler {
  /** The records of `memory[0..end)` came, of which `words` are the words; valid until it returns. */
  onPackets(memory: Uint8Array, words: Int32Array, end: number): void;
  /** Nobody receives at the address that begins at `words[at]`, says the kernel or the network (ICMP). */
  onRefused(words: Int32Array, at: number): void;
  /** The socket is broken, and closed. */
  onError(error: Error): void;
}

export interface DatagramSocket extends PacketSender {
  readonly port: number;
  /** How many bytes of full packets the kernel holds before they are read. */
  readonly heldBytes: number;
  /**
   * How long a datagram to `route` is at most for this host to send it in one piece, as far as it knows; 0 where it does not, or would
   * fragment longer ones.
   */
  largestDatagram(route: Route): number;
  /** Begins to receive. Called once. */
  open(handler: DatagramHandler): void;
  /** Nothing is told after this. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}
