import type { Transport } from "@sluice/core";
import type { Platform } from "../platform/index.js";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `auto:NAME`: the fastest way between two processes of one user on one host that both have: shared memory, a Unix socket or TCP on
 * loopback. `connection.peer.address` says which it is. Its files are in `$XDG_RUNTIME_DIR/sluice`, or else `/tmp/sluice-UID`.
 *
 * Options as of `shm:` and `unix:`. Where `allowPeer` is a function, TCP is left out: nobody tells whose a peer there is.
 */
export function createAutoTransport(platform: Platform, unix: Transport, shm?: Transport): Transport {
  const local = shm === undefined ? [unix] : [shm, unix];
  return {
    scheme: "auto",
    connect: (address, options) => connect(platform, local, address, options),
    listen: (address, accept, options, report) =>
      listen(platform, unix, shm, address, accept, options, report),
  };
}
