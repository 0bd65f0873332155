import type { Transport } from "@sluice/core";
import { memory } from "./memory/index.js";
import { nodeSockets } from "./stream/node-sockets.js";
import { createTcpTransport } from "./tcp/index.js";
import { createUnixTransport } from "./unix/index.js";
import { programFlock } from "./unix/lock.js";

export { parseScheme } from "./address.js";
export { createTcpTransport, createUnixTransport, memory };
export { StreamConnection } from "./stream/connection.js";

export const tcp: Transport = createTcpTransport(nodeSockets);
export const unix: Transport = createUnixTransport(nodeSockets, programFlock);

/** Every transport of this package. */
export const transports: readonly Transport[] = [memory, unix, tcp];
