import type { TLSSocket } from "node:tls";
import type { Peer } from "@sluice/core";
import { native } from "@sluice/native";
import { NodeChannel, type Activity } from "../platform/node/channel.js";
import { StreamConnection } from "../stream/connection.js";
import { readSlab } from "../stream/slabs.js";
import { traitsOf } from "../tcp/connection.js";
import { explained } from "./errors.js";

/** Over a socket whose handshake is over. */
export class TlsConnection extends StreamConnection {
  /** Whether the peer may still refuse a client certificate that this end has shown it, which TLS tells nobody. */
  #mayBeRefused: boolean;

  /** `pollUs`: for how many microseconds to poll before the process sleeps, where the addon is. */
  constructor(socket: TLSSocket, address: string, mayBeRefused: boolean, pollUs: number) {
    super(
      (handler) => new NodeChannel(socket, socket, handler, activity(pollUs)),
      readSlab,
      traitsOf(socket.remoteAddress),
      peerOf(socket, address),
    );
    this.#mayBeRefused = mayBeRefused;
  }

  override close(): void {
    this.#mayBeRefused = false;
    super.close();
  }

  override onRead(end: number): number {
    this.#mayBeRefused = false;
    return super.onRead(end);
  }

  override onEnd(): void {
    if (this.#mayBeRefused && !this.ended) super.onError(new Error(REFUSED));
    else super.onEnd();
  }

  override onError(error: Error): void {
    super.onError(this.#mayBeRefused ? new Error(REFUSED, { cause: error }) : explained(error));
  }
}

function activity(pollUs: number): Activity | undefined {
  if (native === undefined || pollUs === 0) return undefined;
  const { noteRead, noteWritten } = native;
  return { read: () => noteRead(pollUs), written: () => noteWritten(pollUs) };
}

const REFUSED =
  "the server ended it before it said anything; it may not trust this client's certificate (option cert)";

function peerOf(socket: TLSSocket, address: string): Peer {
  const { remoteAddress, remotePort } = socket;
  // Empty for a client that has shown none.
  const certificate = socket.getPeerCertificate();
  return {
    address,
    ...(remoteAddress !== undefined && { remoteAddress }),
    ...(remotePort !== undefined && { remotePort }),
    ...(certificate?.raw !== undefined && { certificate }),
  };
}
