import type { Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import { connectPipeSync } from "../blocking/connect.js";
import type { Platform } from "../platform/index.js";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `pipe:`: between a parent and the child that it started by `spawn`, over two pipes that the child inherits. The child listens
 * at `pipe:`, once; while the connection lives it keeps the child alive, and when either process ends, the other's end
 * of the connection does too. No options of its own.
 */
export function createPipeTransport(platform: Platform, addon?: Native): Transport {
  return {
    scheme: "pipe",
    connect: (address) => connect(address, "pipe"),
    listen: (address, accept, options) => listen(platform, address, accept, options),
    ...(addon && {
      connectSync: (address, options) => connectPipeSync(addon, address, options),
    }),
  };
}
