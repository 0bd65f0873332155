import type { Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import type { Platform } from "../platform/index.js";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `fifo:PATH`: named pipes. The FIFO at PATH is where a server meets its clients; each of them makes two more beside it for its
 * connection, which have no name any more when they are used. The directory must be one that only this user can write to.
 *
 * Options of `connect` and `listen`: `poll`, as of `unix:`; `allowPeer`, too, by the FIFOs' owner (`uid`).
 */
export function createFifoTransport(native: Native, platform: Platform): Transport {
  return {
    scheme: "fifo",
    connect: (address, options) => connect(native, platform, address, options),
    listen: (address, accept, options, report) => listen(native, platform, address, accept, options, report),
  };
}
