import type { Connection, TransportOptions } from "@sluice/core";
import { invalidAddress } from "../address.js";
import { untilAborted } from "../abort.js";
import { systemError } from "../errors.js";
import { signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { parseTcpAddress, resolveHost } from "./address.js";
import { tcpConnection } from "./connection.js";

export async function connect(
  platform: Platform,
  address: string,
  options: TransportOptions,
): Promise<Connection> {
  const { host, port } = parseTcpAddress(address);
  const signal = signalOption(options);
  if (port === 0) throw invalidAddress(address, "port 0 can only be listened at");
  const ips = await untilAborted(resolveHost(host, "connect to", address), signal);
  let failure: unknown;
  for (const ip of ips) {
    try {
      return tcpConnection(await platform.sockets.connect({ address: ip, port }, signal), address);
    } catch (error) {
      signal?.throwIfAborted();
      failure = error;
    }
  }
  throw systemError(failure, "connect to", address);
}
