import { RpcError, Status, type Connection, type TransportOptions } from "@sluice/core";
import { signalOption } from "../options.js";
import { parseMemoryAddress } from "./address.js";
import { connectionPair } from "./connection.js";
import { listeners } from "./registry.js";

export async function connect(address: string, options: TransportOptions): Promise<Connection> {
  const name = parseMemoryAddress(address);
  signalOption(options)?.throwIfAborted();
  const accept = listeners.get(name);
  if (accept === undefined) {
    throw new RpcError(Status.UNAVAILABLE, `nobody listens at ${address} in this thread`);
  }
  const [near, far] = connectionPair(address);
  queueMicrotask(() => {
    // The listener may have been closed in between.
    if (listeners.get(name) === accept) accept(far);
    else far.destroy();
  });
  return near;
}
