import { RpcError, Status, type TransportOptions } from "@sluice/core";
import { booleanOption, invalidOption } from "../options.js";
import { isLoopback } from "../tcp/address.js";
import { LEAST_WINDOW_BYTES, type Parameters } from "./packet.js";

const SECRET_BYTES = 32;

const DEFAULT_IDLE_TIMEOUT_MS = 30_000;
const LEAST_IDLE_TIMEOUT_MS = 500;
const LONGEST_IDLE_TIMEOUT_MS = 600_000;

/** What an end holds of the stream that it has not delivered, which only gaps and late starts fill. */
const WINDOW_BYTES = 1 << 20;

/** The option `secret`: 32 bytes, or their 64 hexadecimal digits. The error does not show what was given. */
export function secretOption(options: TransportOptions): Uint8Array | undefined {
  const { secret } = options;
  if (secret === undefined) return undefined;
  if (secret instanceof Uint8Array && secret.length === SECRET_BYTES) return secret.slice();
  if (typeof secret === "string" && /^[0-9a-f]{64}$/i.test(secret)) return Buffer.from(secret, "hex");
  throw new RpcError(
    Status.INVALID_ARGUMENT,
    "option secret must be a Uint8Array of 32 bytes, or 64 hexadecimal digits; `sluice secret` prints a new one",
  );
}

function idleTimeoutOption({ idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS }: TransportOptions): number {
  if (
    typeof idleTimeoutMs === "number" &&
    Number.isInteger(idleTimeoutMs) &&
    idleTimeoutMs >= LEAST_IDLE_TIMEOUT_MS &&
    idleTimeoutMs <= LONGEST_IDLE_TIMEOUT_MS
  ) {
    return idleTimeoutMs;
  }
  const allowed = `an integer from ${LEAST_IDLE_TIMEOUT_MS} to ${LONGEST_IDLE_TIMEOUT_MS} (milliseconds)`;
  throw invalidOption("idleTimeoutMs", idleTimeoutMs, allowed);
}

/** What an end says of itself, given the peer's IP address and how many bytes its own socket holds. */
export type ParametersFor = (remoteAddress: string, heldBytes: number) => Parameters;

/** On one host the window is no larger than what the socket holds: nothing else limits what comes at once, and more would be dropped. */
export function parametersOption(options: TransportOptions): ParametersFor {
  const idleTimeoutMs = idleTimeoutOption(options);
  return (remoteAddress, heldBytes) => ({
    idleTimeoutMs,
    windowBytes: isLoopback(remoteAddress)
      ? Math.min(Math.max(heldBytes, LEAST_WINDOW_BYTES), WINDOW_BYTES)
      : WINDOW_BYTES,
  });
}

/** Throws unless the packets with `ip` stay on this host, are protected, or need not be. */
export function securityOption(
  options: TransportOptions,
): (ip: string, doing: string, address: string) => void {
  const insecure = booleanOption(options, "insecure") ?? false;
  return (ip, doing, address) => {
    if (insecure || options.secret !== undefined || isLoopback(ip)) return;
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      `cannot ${doing} ${address}: ${ip} is beyond this host, and udp: neither encrypts nor authenticates without a secret; ` +
        "give both ends the same option secret, or insecure: true if the network itself is trusted",
    );
  };
}
