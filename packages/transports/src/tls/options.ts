import { X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { RpcError, Status, type TransportOptions } from "@sluice/core";
import { invalidOption } from "../options.js";

/** What both ends agree on by ALPN (RFC 7301): the wire protocol, version 1. */
export const PROTOCOL = "sluice/1";

/** Of each `SecureContext`: `node:tls` would go down to TLS 1.2. */
const MIN_VERSION = "TLSv1.3";

type Pem = string | Buffer | (string | Buffer)[];

function pemOption(options: TransportOptions, name: string): Pem | undefined {
  const value = options[name];
  const isPem = (one: unknown): boolean => typeof one === "string" || one instanceof Uint8Array;
  if (value === undefined || isPem(value)) return value as Pem | undefined;
  if (Array.isArray(value) && value.length > 0 && value.every(isPem)) return value as Pem;
  throw invalidOption(name, value, "PEM: a string, a Buffer, or an array of them");
}

/**
 * The options `ca`, `cert` and `key`, of which the latter two go together. Throws INVALID_ARGUMENT if they are not what they
 * should be.
 */
export function credentialOptions(options: TransportOptions): SecureContextOptions {
  const ca = pemOption(options, "ca");
  const cert = pemOption(options, "cert");
  const key = pemOption(options, "key");
  requireCertificates("ca", ca);
  requireCertificates("cert", cert);
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? ["key", "cert"] : ["cert", "key"];
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      `option ${given} was given without option ${missing}: a certificate and its key go together`,
    );
  }
  const credentials: SecureContextOptions = {
    minVersion: MIN_VERSION,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert, key }),
  };
  try {
    createSecureContext(credentials);
  } catch (error) {
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      `options cert and key are no certificate and its private key in PEM: ${(error as Error).message}`,
      { cause: error },
    );
  }
  return credentials;
}

/** `node:tls` passes over what it cannot read of `ca`. */
function requireCertificates(name: string, pem: Pem | undefined): void {
  if (pem === undefined) return;
  for (const one of Array.isArray(pem) ? pem : [pem]) {
    try {
      new X509Certificate(one);
    } catch (error) {
      throw new RpcError(
        Status.INVALID_ARGUMENT,
        `option ${name} is no certificate in PEM: ${(error as Error).message}`,
        { cause: error },
      );
    }
  }
}

/** For which name the server's certificate must be, instead of the address's host. */
export function servernameOption(options: TransportOptions): string | undefined {
  const value = options["servername"];
  if (value === undefined || (typeof value === "string" && value !== "")) return value as string | undefined;
  throw invalidOption("servername", value, "the name of a host");
}

/** For how long a client may be at its TLS handshake, in milliseconds. */
export function handshakeTimeoutOption(options: TransportOptions): number {
  const value = options["handshakeTimeout"];
  if (value === undefined) return 10_000;
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 0x7fff_ffff)
    return value as number;
  throw invalidOption("handshakeTimeout", value, "an integer from 1 to 2147483647 (milliseconds)");
}
