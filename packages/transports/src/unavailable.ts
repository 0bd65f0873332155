import { RpcError, Status, type Transport } from "@sluice/core";
import { nativeUnavailable } from "@sluice/native";

/** What stands in for a transport that needs the addon where there is none: says so, why, and what to do. */
export function unavailable(scheme: string): Transport {
  const refuse = async (): Promise<never> => {
    throw new RpcError(
      Status.UNIMPLEMENTED,
      `${scheme}: needs @sluice/native: ${nativeUnavailable || "these transports are those without it"}; use unix: or tcp:`,
    );
  };
  return { scheme, connect: refuse, listen: refuse };
}
