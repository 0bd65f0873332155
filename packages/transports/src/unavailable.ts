import { RpcError, Status, type Transport } from "@sluice/core";

/** What stands in for a transport that needs the addon where there is none: says so, and what to do. */
export function unavailable(scheme: string): Transport {
  const refuse = async (): Promise<never> => {
    throw new RpcError(
      Status.UNIMPLEMENTED,
      `${scheme}: needs @sluice/native, which has no build for ${process.platform}-${process.arch}` +
        `${process.env["SLUICE_NATIVE"] === "0" ? " that is in use (SLUICE_NATIVE=0)" : ""}; use unix: or tcp:`,
    );
  };
  return { scheme, connect: refuse, listen: refuse };
}
