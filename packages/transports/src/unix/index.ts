import type { Peer, Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import { connectUnixSync } from "../blocking/connect.js";
import { pollOption } from "../options.js";
import type { Platform, StreamSocket } from "../platform/index.js";
import { parseUnixAddress } from "./address.js";
import { connectSocket } from "./connect.js";
import { unixConnection } from "./connection.js";
import { listenSocket } from "./listen.js";

/**
 * `unix:PATH` and `unix:@NAME`: Unix stream sockets, at a path or (Linux) with an abstract name; at most 107 bytes.
 *
 * Options of `connect` and `listen`: `poll: { us }`, for how many microseconds at most this end polls before it sleeps (0 to
 * 1,000; default 50; not without the addon). `allowPeer` says which peers are let in, by what the kernel knows of them: "same-user"
 * (default), "any", or a function of the `Peer`. A socket file has mode 0600, or 0666 where `allowPeer` is not "same-user".
 * What a dead server left at the path is taken over, under a lock on `PATH.lock`, which is removed again.
 */
export function createUnixTransport(platform: Platform, addon?: Native): Transport {
  return {
    scheme: "unix",
    async connect(address, options) {
      const pollUs = pollOption(options);
      const { socket, peer } = await connectSocket(platform, address, parseUnixAddress(address), options);
      return unixConnection(socket, peer, pollUs);
    },
    async listen(address, accept, options, report) {
      const pollUs = pollOption(options);
      const onSocket = (socket: StreamSocket, peer: Peer): void =>
        accept(unixConnection(socket, peer, pollUs));
      return listenSocket(platform, address, parseUnixAddress(address), onSocket, options, report);
    },
    ...(addon && {
      connectSync: (address, options, timeoutMs) => connectUnixSync(addon, address, options, timeoutMs),
    }),
  };
}
