/** Sluice for Node.js: the core with every transport of @sluice/transports registered. */
import { Server, connectWith, type Channel, type ConnectOptions, type EndpointOptions } from "@sluice/core";
import { installPlatform } from "@sluice/core/protobuf";
import { transports } from "@sluice/transports";
import { nodePlatform } from "./platform.js";

export * from "@sluice/core";
export { transports } from "@sluice/transports";

installPlatform(nodePlatform);

/** A server that can listen at every address of `transports`. Throws INVALID_ARGUMENT for an unknown or bad option. */
export function createServer(options: EndpointOptions = {}): Server {
  return new Server(transports, options);
}

/**
 * Connect to `address`. Rejects with an `RpcError` if the first attempt fails, unless `waitForReady`; later losses
 * reconnect with back-off and jitter, where the transport can. Close the channel when it is not needed any more.
 */
export function connect(address: string, options: ConnectOptions = {}): Promise<Channel> {
  return connectWith(transports, address, options);
}
