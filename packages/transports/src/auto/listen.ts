import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import {
  RpcError,
  type Connection,
  type Listener,
  type ReportError,
  type Transport,
  type TransportOptions,
} from "@sluice/core";
import { systemError } from "../errors.js";
import { atExit } from "../exit.js";
import { pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { makeDirectory, requireOwnDirectory } from "../shm/address.js";
import { formatTcpAddress } from "../tcp/address.js";
import { allowPeerOption } from "../unix/peer.js";
import { parseAutoAddress, writeOffer, type Secrets } from "./offer.js";
import { ProvenConnection } from "./proof.js";

const LOOPBACK = "127.0.0.1";

/** Listens by shared memory, where there is any, by a Unix socket and by TCP, and offers all of these. */
export async function listen(
  platform: Platform,
  unix: Transport,
  shm: Transport | undefined,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
  report?: ReportError,
): Promise<Listener> {
  const at = parseAutoAddress(address);
  const allow = allowPeerOption(options);
  const pollUs = pollOption(options);
  signalOption(options)?.throwIfAborted();
  makeDirectory(at.directory, address);
  requireOwnDirectory(at.directory, "listen at", address);

  const listeners: Listener[] = [];
  const closeAll = (): Promise<unknown> => Promise.all(listeners.map((listener) => listener.close()));
  try {
    // First, because who has this socket has the name: nobody else is at the other files then.
    listeners.push(await unix.listen(`unix:${at.unix}`, accept, options, report));
    if (shm !== undefined) listeners.unshift(await shm.listen(`shm:${at.shm}`, accept, options, report));
    const secrets = { server: newSecret(), client: newSecret() };
    // A function can only judge peers that somebody vouches for.
    if (typeof allow !== "function")
      listeners.push(await listenTcp(platform, accept, secrets, pollUs, report));
    writeOffer(at.offer, { addresses: listeners.map((listener) => listener.address), secrets });
  } catch (error) {
    await closeAll();
    if (!(error instanceof RpcError)) throw systemError(error, "listen at", address);
    throw new RpcError(error.code, `cannot listen at ${address}: ${error.message}`, { cause: error });
  }

  const removeOffer = (): void => rmSync(at.offer, { force: true });
  const forget = atExit(removeOffer);
  let open = true;
  return {
    address,
    async close() {
      if (!open) return;
      open = false;
      forget();
      removeOffer();
      await closeAll();
    },
    ref: () => listeners.forEach((listener) => listener.ref()),
    unref: () => listeners.forEach((listener) => listener.unref()),
  };
}

const newSecret = (): string => randomBytes(32).toString("hex");

async function listenTcp(
  platform: Platform,
  accept: (connection: Connection) => void,
  { server, client }: Secrets,
  pollUs: number,
  report?: ReportError,
): Promise<Listener> {
  let address = "";
  const sockets = await platform.sockets.listen(
    { address: LOOPBACK, port: 0 },
    0,
    (socket) => accept(new ProvenConnection(socket, address, server, client, pollUs)),
    (error) => report?.(systemError(error, "accept connections at", address)),
  );
  address = formatTcpAddress({ host: LOOPBACK, port: sockets.port });
  return {
    address,
    close: async () => sockets.close(),
    ref: () => sockets.ref(),
    unref: () => sockets.unref(),
  };
}
