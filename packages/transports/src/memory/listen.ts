import { RpcError, Status, type Connection, type Listener, type TransportOptions } from "@sluice/core";
import { signalOption } from "../options.js";
import { parseMemoryAddress } from "./address.js";
import { listeners } from "./registry.js";

export async function listen(
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
): Promise<Listener> {
  const name = parseMemoryAddress(address);
  signalOption(options)?.throwIfAborted();
  if (listeners.has(name)) {
    throw new RpcError(Status.ALREADY_EXISTS, `${address} is in use: somebody listens there in this thread`);
  }
  // A function of its own, so that a later listener with the same `accept` is another one.
  const own = (connection: Connection): void => accept(connection);
  listeners.set(name, own);
  return {
    address,
    async close() {
      if (listeners.get(name) === own) listeners.delete(name);
    },
    ref() {},
    unref() {},
  };
}
