import { isIP } from "node:net";
import { checkServerIdentity, connect as tlsConnect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { RpcError, Status, type Connection, type TransportOptions } from "@sluice/core";
import { pollOption, signalOption } from "../options.js";
import { parseTcpAddress } from "../tcp/address.js";
import { connectInTurn } from "../tcp/connect.js";
import { TlsConnection } from "./connection.js";
import { certificateError, handshakeError } from "./errors.js";
import { credentialOptions, PROTOCOL, servernameOption } from "./options.js";

export async function connect(address: string, options: TransportOptions): Promise<Connection> {
  const at = parseTcpAddress(address, "tls");
  const credentials = credentialOptions(options);
  const name = servernameOption(options) ?? at.host;
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  // The type of node:tls lacks allowHalfOpen.
  const secured: ConnectionOptions & { allowHalfOpen: boolean } = {
    ...credentials,
    port: at.port,
    ALPNProtocols: [PROTOCOL],
    // An address is not sent (RFC 6066, 3), but checked all the same.
    ...(isIP(name) === 0 && { servername: name }),
    checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
    // What is not authorized is refused below, where it can still be said which certificate that was.
    rejectUnauthorized: false,
    allowHalfOpen: true,
  };
  return connectInTurn(address, at, signal, async (ip) => {
    const socket = await handshake({ ...secured, host: ip }, address, signal);
    try {
      if (!socket.authorized) throw certificateError(socket, name, address);
      if (socket.alpnProtocol !== PROTOCOL) {
        throw new RpcError(
          Status.UNAVAILABLE,
          `cannot connect to ${address}: the server does not speak ${PROTOCOL} (ALPN)`,
        );
      }
      return new TlsConnection(socket, address, credentials.cert !== undefined, pollUs);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  });
}

/** A socket over which the TLS handshake has succeeded, whatever the certificate is. */
function handshake(
  options: ConnectionOptions,
  address: string,
  signal: AbortSignal | undefined,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const socket = tlsConnect(options).setNoDelay();
    let connected = false;
    const settle = (): void => {
      signal?.removeEventListener("abort", onAbort);
      socket.off("error", onError);
    };
    const onAbort = (): void => {
      settle();
      socket.on("error", () => {}).destroy();
      reject(signal!.reason as Error);
    };
    const onError = (error: Error): void => {
      settle();
      reject(connected ? handshakeError(error, address) : error);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.on("error", onError);
    socket.once("connect", () => (connected = true));
    socket.once("secureConnect", () => {
      settle();
      resolve(socket);
    });
  });
}
