import { RpcError, Status } from "@sluice/core";

/** What stands before the first colon of an address, such as `unix`. */
export function parseScheme(address: string): string {
  if (typeof address !== "string") {
    throw new RpcError(Status.INVALID_ARGUMENT, `an address must be a string, not ${typeof address}`);
  }
  const colon = address.indexOf(":");
  if (colon <= 0) throw invalidAddress(address, "it must begin with a scheme and a colon, such as unix:");
  return address.slice(0, colon);
}

/** What stands behind `scheme:`. */
export function splitAddress(address: string, scheme: string): string {
  if (parseScheme(address) !== scheme) throw invalidAddress(address, `it must begin with ${scheme}:`);
  return address.slice(scheme.length + 1);
}

export function invalidAddress(address: string, why: string): RpcError {
  return new RpcError(Status.INVALID_ARGUMENT, `malformed address ${JSON.stringify(address)}: ${why}`);
}
