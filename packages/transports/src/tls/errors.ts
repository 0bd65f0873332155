import type { DetailedPeerCertificate, PeerCertificate, TLSSocket } from "node:tls";
import { RpcError, Status } from "@sluice/core";
import { errorCode } from "../errors.js";
import { PROTOCOL } from "./options.js";

/** What the peer said or is, by the codes of OpenSSL's errors, many of which stand for alerts (RFC 8446, 6.2). */
const MEANINGS: Record<string, string> = {
  ERR_SSL_WRONG_VERSION_NUMBER: "what is there does not speak TLS (is it a server of tcp: ?)",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "what is there does not speak TLS (is it a server of tcp: ?)",
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: "it does not speak TLS 1.3",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "it does not speak TLS 1.3",
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: `it does not speak ${PROTOCOL} (ALPN)`,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    "it requires a client certificate: give the options cert and key",
};

/** The same error, where it can be said better what it means. */
export function explained(error: Error): Error {
  const code = errorCode(error);
  const meaning = MEANINGS[code];
  return meaning === undefined ? error : new Error(`${meaning} (${code})`, { cause: error });
}

/** The error to tell when the TLS handshake with the server at `address` failed with `error`. */
export function handshakeError(error: Error & { reason?: string }, address: string): RpcError {
  const code = errorCode(error);
  const meaning =
    code === "ECONNRESET"
      ? "it ended the connection during the TLS handshake"
      : // The whole message names files of OpenSSL.
        (MEANINGS[code] ?? error.reason ?? error.message);
  return new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: ${meaning}${code && ` (${code})`}`, {
    cause: error,
  });
}

const EXPIRED = "CERT_HAS_EXPIRED";
const UNTRUSTED = "was not issued by a certificate authority that is trusted here (option ca)";

/** What is wrong with a certificate, by the codes of X509_verify_cert_error_string(3) and `tls.checkServerIdentity`. */
const CERTIFICATE: Record<string, string> = {
  [EXPIRED]: "has expired",
  CERT_NOT_YET_VALID: "is not valid yet",
  DEPTH_ZERO_SELF_SIGNED_CERT: "is self-signed, and not one that is trusted here (option ca)",
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  INVALID_PURPOSE: "is not one for servers",
};

/** Why the certificate of the server that `socket` is connected with is refused. `name` is that which it should be for. */
export function certificateError(socket: TLSSocket, name: string, address: string): RpcError {
  // Its type says Error; it is the code of one.
  const code = String(socket.authorizationError);
  const leaf = socket.getPeerCertificate(true);
  const why =
    code === "ERR_TLS_CERT_ALTNAME_INVALID" ? `is not for ${name}` : (CERTIFICATE[code] ?? "was refused");
  return new RpcError(
    Status.PERMISSION_DENIED,
    `cannot connect to ${address}: the server's certificate ` +
      `${describe(code === EXPIRED ? firstExpired(leaf) : leaf)} ${why} (${code})`,
  );
}

/** The first of a certificate and its issuers whose time is over. The last is its own issuer. */
function firstExpired(leaf: DetailedPeerCertificate): DetailedPeerCertificate {
  const seen = new Set<DetailedPeerCertificate>();
  for (let one = leaf; one !== undefined && !seen.has(one); one = one.issuerCertificate) {
    if (Date.parse(one.valid_to) < Date.now()) return one;
    seen.add(one);
  }
  return leaf;
}

function describe({ subject, issuer, valid_from, valid_to, subjectaltname }: PeerCertificate): string {
  const oneLine = (name: object): string =>
    Object.entries(name)
      .map(([attribute, value]) => `${attribute}=${value}`)
      .join(", ");
  return (
    `of ${oneLine(subject)} (issued by ${oneLine(issuer)}, valid from ${valid_from} to ${valid_to}, ` +
    `for ${subjectaltname ?? "no names"})`
  );
}
