import type { Transport } from "@sluice/core";
import type { Platform } from "../platform/index.js";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `stdio:`: between a parent and the child that it started by `spawn` with `over: "stdio:"`, over the child's standard input and
 * output. A child on Node listens at `stdio:`, once, before it prints anything: from then on what it prints goes to standard
 * error, and it reads nothing from standard input. No options of its own.
 */
export function createStdioTransport(platform: Platform): Transport {
  return {
    scheme: "stdio",
    connect,
    listen: (address, accept, options) => listen(platform, address, accept, options),
  };
}
