import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { createServer } from "node:tls";
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
import { Shortage } from "../platform/shortage.js";
import { formatTcpAddress, parseTcpAddress, resolveHost } from "../tcp/address.js";
import { TlsConnection } from "./connection.js";
import { credentialOptions, handshakeTimeoutOption, PROTOCOL } from "./options.js";

/** Clients that may be at their TLS handshakes; when there are more, the oldest is cut off. */
const MAX_HANDSHAKES = 1024;

export async function listen(
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
  report?: ReportError,
): Promise<Listener> {
  const { host, port } = parseTcpAddress(address, "tls");
  const credentials = credentialOptions(options);
  const requestCert = booleanOption(options, "requestCert") ?? false;
  const handshakeTimeout = handshakeTimeoutOption(options);
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  if (credentials.cert === undefined) {
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      `cannot listen at ${address} without a certificate: give the options cert and key`,
    );
  }
  if (requestCert && credentials.ca === undefined) {
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      "option requestCert needs option ca: the authorities whose client certificates are let in",
    );
  }
  const [ip] = await untilAborted(resolveHost(host, "listen at", address), signal);
  const server = createServer({
    ...credentials,
    requestCert,
    rejectUnauthorized: requestCert,
    ALPNProtocols: [PROTOCOL],
    handshakeTimeout,
    allowHalfOpen: true,
    noDelay: true,
  });
  /** By the client's address and port. */
  const handshaking = new Map<string, Socket>();
  const idOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
  server.on("connection", (socket: Socket) => {
    const id = idOf(socket);
    if (handshaking.size >= MAX_HANDSHAKES) handshaking.values().next().value!.destroy();
    handshaking.set(id, socket);
    socket.once("close", () => handshaking.get(id) === socket && handshaking.delete(id));
  });
  // Whoever took too long is still connected.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  let bound = address;
  const shortage = new Shortage((error) => report?.(systemError(error, "accept connections at", bound)));
  server.on("secureConnection", (socket) => {
    shortage.onAccepted();
    handshaking.delete(idOf(socket));
    // A client that offers no protocol at all gets this far.
    if (socket.alpnProtocol === PROTOCOL) accept(new TlsConnection(socket, bound, false, pollUs));
    else socket.destroy();
  });
  server.listen(port, ip);
  try {
    await once(server, "listening");
  } catch (error) {
    throw systemError(error, "listen at", address);
  }
  // accept(2) can fail later; the next connection is then tried anew.
  server.on("error", (error: Error) => shortage.onError(error));
  bound = formatTcpAddress({ host, port: (server.address() as AddressInfo).port }, "tls");
  return {
    address: bound,
    async close() {
      server.close();
      for (const socket of handshaking.values()) socket.destroy();
    },
    ref: () => void server.ref(),
    unref: () => void server.unref(),
  };
}
