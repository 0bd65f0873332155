import type { Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import { connectTcpSync } from "../blocking/connect.js";
import type { Platform } from "../platform/index.js";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `tcp://HOST:PORT`: TCP with TCP_NODELAY, over IPv4 or IPv6 (in brackets). Names are resolved by `node:dns`; connecting tries
 * each address of a name in turn, listening takes the first. Port 0 lets the kernel choose one: `listener.address` says which.
 *
 * Option of `connect` and `listen`: `poll`, as of `unix:`. Of `listen`: `insecure: true` allows an address that other hosts can reach, which is refused otherwise.
 */
export function createTcpTransport(platform: Platform, addon?: Native): Transport {
  return {
    scheme: "tcp",
    connect: (address, options) => connect(platform, address, options),
    listen: (address, accept, options, report) => listen(platform, address, accept, options, report),
    ...(addon && {
      connectSync: (address, options, timeoutMs) => connectTcpSync(addon, address, options, timeoutMs),
    }),
  };
}
