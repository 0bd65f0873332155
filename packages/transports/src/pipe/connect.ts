import { RpcError, Status } from "@sluice/core";
import { invalidAddress, splitAddress } from "../address.js";

/** `pipe:` and `stdio:` name no place, so nothing may follow the colon. */
export function parseNothing(address: string, scheme: string): void {
  if (splitAddress(address, scheme) !== "")
    throw invalidAddress(address, `write ${scheme}: and nothing else`);
}

/** Always refuses: a parent reaches its child by `spawn`, which gives the process as well. */
export async function connect(address: string, scheme: string): Promise<never> {
  parseNothing(address, scheme);
  throw new RpcError(
    Status.INVALID_ARGUMENT,
    `${scheme}: connects a parent with its child: call spawn(command, args, { over: "${scheme}:" }) in the parent, and ` +
      `listen at ${scheme}: in the child`,
  );
}
