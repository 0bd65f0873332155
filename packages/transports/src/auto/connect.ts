import { RpcError, Status, type Connection, type Transport, type TransportOptions } from "@sluice/core";
import { parseScheme } from "../address.js";
import { pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { requireOwnDirectory } from "../shm/address.js";
import { parseTcpAddress } from "../tcp/address.js";
import { connectInTurn } from "../tcp/connect.js";
import { allowPeerOption } from "../unix/peer.js";
import { parseAutoAddress, readOffer, type Secrets } from "./offer.js";
import { ProvenConnection } from "./proof.js";

/** Connects by the first of the server's addresses that can be had. `local` are those that know a peer's user. */
export async function connect(
  platform: Platform,
  local: readonly Transport[],
  address: string,
  options: TransportOptions,
): Promise<Connection> {
  const { directory, offer } = parseAutoAddress(address);
  const allow = allowPeerOption(options);
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  signal?.throwIfAborted();
  requireOwnDirectory(directory, "connect to", address);
  const { addresses, secrets } = readOffer(offer, address);
  const failures: string[] = [];
  for (const offered of addresses) {
    const scheme = parseScheme(offered);
    try {
      const transport = local.find((one) => one.scheme === scheme);
      if (transport !== undefined) return await transport.connect(offered, options);
      // A function can only judge peers that somebody vouches for.
      if (scheme === "tcp" && typeof allow !== "function")
        return await connectTcp(platform, offered, secrets, pollUs, signal);
      failures.push(`${scheme}: is not to be had here`);
    } catch (error) {
      signal?.throwIfAborted();
      // What was refused by one way is not tried by another.
      if (!(error instanceof RpcError) || error.code !== Status.UNAVAILABLE) throw error;
      failures.push(error.message);
    }
  }
  throw new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: ${failures.join("; ")}`);
}

function connectTcp(
  platform: Platform,
  address: string,
  { client, server }: Secrets,
  pollUs: number,
  signal: AbortSignal | undefined,
): Promise<Connection> {
  const at = parseTcpAddress(address);
  return connectInTurn(address, at, signal, async (ip) => {
    const socket = await platform.sockets.connect({ address: ip, port: at.port }, signal);
    return new ProvenConnection(socket, address, client, server, pollUs);
  });
}
