import type { Transport, TransportOptions } from "@sluice/core";

/** A transport to be tested, and what the suite must know to use it. */
export interface Subject {
  readonly transport: Transport;
  /** An address to listen at that nobody uses: a new one for each call. */
  address(): string | Promise<string>;
  /** Given to every `listen` and `connect`. */
  readonly options?: TransportOptions;
  /**
   * Where another process finds the transport: a module (its URL) and the name of its export, which may lead on to a property
   * (`transports.carrier`). Without it the tests with several processes are left out, as they must be for a transport that
   * lives inside one process.
   */
  readonly module?: { readonly url: string | URL; readonly export: string };
  /** Addresses of this scheme that must be refused as malformed. */
  readonly malformed?: readonly string[];
  /**
   * Whether `listen` at an address on which a process was killed must succeed; true by default.
   */
  readonly outlivesServers?: boolean;
  /** Whether the death of the peer's process is told at once although `peerDeath` is `keepalive`. */
  readonly noticesDeath?: boolean;
  /** How many connections the kernel lets a test have at once, where that is less than a test would make. */
  readonly maxConnections?: number;
  /** Whether its connections have memory for large frames (`Connection.large`); false by default. */
  readonly largeFrames?: boolean;
  /** Whether its ends poll before they sleep, and so take the option `poll`; false by default. */
  readonly polls?: boolean;
  /** Whether its connections are of other transports, whose addresses their peers have; false by default. */
  readonly delegates?: boolean;
}
