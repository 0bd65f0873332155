import type { Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import { connectUnixSync } from "../blocking/connect.js";
import type { Platform } from "../platform/index.js";
import { parseUnixAddress } from "./address.js";
import { connectSocket } from "./connect.js";
import { unixConnection } from "./connection.js";
import { listenSocket } from "./listen.js";

/**
 * `unix:PATH` and `unix:@NAME`: Unix stream sockets, at a path or (Linux) with an abstract name; at most 107 bytes.
 *
 * Option of `connect` and `listen`: `allowPeer` says which peers are let in, by what the kernel knows of them: "same-user"
 * (default), "any", or a function of the `Peer`. A socket file has mode 0600, or 0666 where `allowPeer` is not "same-user".
 * What a dead server left at the path is taken over, under a lock on `PATH.lock`, which is removed again.
 */
export function createUnixTransport(platform: Platform, addon?: Native): Transport {
  return {
    scheme: "unix",
    async connect(address, options) {
      const { socket, peer } = await connectSocket(platform, address, parseUnixAddress(address), options);
      return unixConnection(socket, peer);
    },
    listen: async (address, accept, options) =>
      listenSocket(
        platform,
        address,
        parseUnixAddress(address),
        (socket, peer) => accept(unixConnection(socket, peer)),
        options,
      ),
    ...(addon && {
      connectSync: (address, options, timeoutMs) => connectUnixSync(addon, address, options, timeoutMs),
    }),
  };
}
