import { RpcError } from "./error.js";
import { Status } from "./status.js";
import type { Transport } from "./transport.js";

/** The transport of `address` among `transports`. Throws INVALID_ARGUMENT for an address without a known scheme. */
export function transportOf(transports: readonly Transport[], address: string): Transport {
  const scheme = typeof address === "string" ? /^([a-z][a-z0-9+.-]*):/.exec(address)?.[1] : undefined;
  const known = transports.map((transport) => `${transport.scheme}:`).join(", ");
  if (scheme === undefined) {
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      `${JSON.stringify(address)} is not an address: it must begin with one of ${known}`,
    );
  }
  const transport = transports.find((one) => one.scheme === scheme);
  if (transport === undefined) {
    throw new RpcError(
      Status.INVALID_ARGUMENT,
      `no transport is known for "${scheme}:" in ${JSON.stringify(address)}; known are ${known}`,
    );
  }
  return transport;
}
