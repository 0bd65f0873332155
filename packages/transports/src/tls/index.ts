import type { Transport } from "@sluice/core";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `tls://HOST:PORT`: TLS 1.3 over TCP, by `node:tls`, whose options these are, all in PEM. Both ends must speak `sluice/1` (ALPN).
 * Names and ports as of `tcp:`.
 *
 * Option of `connect` and `listen`: `poll`, as of `unix:`.
 *
 * Options of `listen`: `cert` and `key`, the server's certificate, with those of its chain, and its private key; `requestCert: true`
 * lets in only clients with a certificate of one of the authorities in `ca`; `handshakeTimeout`, the milliseconds that a client's TLS
 * handshake may take (default 10,000).
 *
 * Options of `connect`: `ca`, the authorities that are trusted, instead of those that Node comes with; `servername`, the name that the
 * server's certificate must be for (default: the address's host); `cert` and `key`, a client certificate.
 */
export const tls: Transport = { scheme: "tls", connect, listen };
