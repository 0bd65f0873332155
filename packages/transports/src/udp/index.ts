import type { Transport } from "@sluice/core";
import type { Platform } from "../platform/index.js";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `udp://HOST:PORT`: frames in order and exactly once over UDP, with loss recovery and congestion control of its own (docs/udp.md), over IPv4 or
 * IPv6 (in brackets). Names are resolved and tried as by `tcp:`. Port 0 lets the kernel choose one: `listener.address` says which.
 *
 * Options of `connect` and `listen`:
 * - `secret`: 32 random bytes, or their 64 hexadecimal digits, that both ends have (`sluice secret` prints one). All packets are then encrypted
 *   and authenticated, under keys of each connection's own. The bytes are copied.
 * - `idleTimeoutMs`: after how long a silence the peer counts as gone, from 500 to 600,000; the shorter one of both ends'. Default 30,000.
 * - `poll`: as of `unix:`. A server's socket keeps that of the listener that has bound it.
 * - `insecure: true` allows addresses beyond this host without a secret, which are refused otherwise.
 */
export function createUdpTransport(platform: Platform): Transport {
  return {
    scheme: "udp",
    connect: (address, options) => connect(platform, address, options),
    listen: (address, accept, options) => listen(platform, address, accept, options),
  };
}
