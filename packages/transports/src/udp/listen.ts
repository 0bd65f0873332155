import { RpcError, Status, type Connection, type Listener, type TransportOptions } from "@sluice/core";
import { untilAborted } from "../abort.js";
import { systemError } from "../errors.js";
import { pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { formatTcpAddress, parseTcpAddress, resolveHost } from "../tcp/address.js";
import { loop } from "./loop.js";
import { parametersOption, secretOption, securityOption } from "./options.js";
import { ServerEndpoint } from "./server.js";

/**
 * The sockets that this thread has bound, by IP address and port. A socket outlives its listener as long as it has connections, which all
 * share it; who listens at its address again takes it over.
 */
const endpoints = new Map<string, ServerEndpoint>();

export async function listen(
  platform: Platform,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
): Promise<Listener> {
  const { host, port } = parseTcpAddress(address, "udp");
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  const secret = secretOption(options);
  const parameters = parametersOption(options);
  const checkSecurity = securityOption(options);
  const [ip] = await untilAborted(resolveHost(host, "listen at", address), signal);
  checkSecurity(ip!, "listen at", address);

  let endpoint = endpoints.get(keyOf(ip!, port));
  if (endpoint?.listening) {
    const inUse = `cannot listen at ${address}: the address is in use by another listener of this thread`;
    throw new RpcError(Status.ALREADY_EXISTS, inUse);
  }
  if (endpoint === undefined) {
    const socket = await platform.datagrams.bind({ address: ip!, port }, pollUs).catch((error: unknown) => {
      throw systemError(error, "listen at", address);
    });
    const key = keyOf(ip!, socket.port);
    endpoint = new ServerEndpoint(loop, socket, () => endpoints.delete(key));
    endpoints.set(key, endpoint);
  }
  const server = endpoint;
  const bound = formatTcpAddress({ host, port: server.port }, "udp");
  const listening = server.listen({
    address: bound,
    secret,
    createCipher: platform.createPacketCipher,
    accept,
    parameters,
  });
  return {
    address: bound,
    close: async () => listening.close(),
    ref: () => listening.setRef(true),
    unref: () => listening.setRef(false),
  };
}

function keyOf(ip: string, port: number): string {
  return `${ip} ${port}`;
}
