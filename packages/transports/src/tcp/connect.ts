import { RpcError, type Connection, type TransportOptions } from "@sluice/core";
import { invalidAddress } from "../address.js";
import { untilAborted } from "../abort.js";
import { systemError } from "../errors.js";
import { pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { parseTcpAddress, resolveHost, type TcpAddress } from "./address.js";
import { tcpConnection } from "./connection.js";

export async function connect(
  platform: Platform,
  address: string,
  options: TransportOptions,
): Promise<Connection> {
  const at = parseTcpAddress(address);
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  return connectInTurn(address, at, signal, async (ip) =>
    tcpConnection(await platform.sockets.connect({ address: ip, port: at.port }, signal), address, pollUs),
  );
}

/**
 * Makes an attempt at each IP address of the host in turn, until one succeeds. One that ends with an `RpcError` is the last: then
 * somebody was there.
 */
export async function connectInTurn<T>(
  address: string,
  { host, port }: TcpAddress,
  signal: AbortSignal | undefined,
  attempt: (ip: string) => Promise<T>,
): Promise<T> {
  if (port === 0) throw invalidAddress(address, "port 0 can only be listened at");
  let failure: unknown;
  for (const ip of await untilAborted(resolveHost(host, "connect to", address), signal)) {
    try {
      return await attempt(ip);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof RpcError) throw error;
      failure = error;
    }
  }
  throw systemError(failure, "connect to", address);
}
