import {
  RpcError,
  Status,
  type Connection,
  type Listener,
  type ReportError,
  type TransportOptions,
} from "@sluice/core";
import { untilAborted } from "../abort.js";
import { systemError } from "../errors.js";
import { booleanOption, pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { formatTcpAddress, isLoopback, parseTcpAddress, resolveHost } from "./address.js";
import { tcpConnection } from "./connection.js";

export async function listen(
  platform: Platform,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
  report?: ReportError,
): Promise<Listener> {
  const { host, port } = parseTcpAddress(address);
  const insecure = booleanOption(options, "insecure") ?? false;
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  const [ip] = await untilAborted(resolveHost(host, "listen at", address), signal);
  if (!insecure && !isLoopback(ip!)) {
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      `cannot listen at ${address}: ${ip} can be reached from other hosts, and tcp: neither encrypts nor authenticates; ` +
        "listen at 127.0.0.1 or [::1], or give the option insecure: true if the network itself is trusted",
    );
  }
  let bound = address;
  const server = await platform.sockets
    .listen(
      { address: ip!, port },
      0,
      (socket) => accept(tcpConnection(socket, bound, pollUs)),
      (error) => report?.(systemError(error, "accept connections at", bound)),
    )
    .catch((error: unknown) => {
      throw systemError(error, "listen at", address);
    });
  bound = formatTcpAddress({ host, port: server.port });
  return {
    address: bound,
    close: async () => server.close(),
    ref: () => server.ref(),
    unref: () => server.unref(),
  };
}
