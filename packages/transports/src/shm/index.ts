import type { Transport, TransportOptions } from "@sluice/core";
import type { Native, SegmentKind } from "@sluice/native";
import { connectRingSync } from "../blocking/connect.js";
import { invalidOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { connectRing, listenRing } from "../ring/endpoint.js";
import { makeDirectory, parseShmAddress, requireOwnDirectory } from "./address.js";

const KINDS: readonly SegmentKind[] = ["memfd", "posix", "sysv"];

/**
 * `shm:NAME` and `shm:/PATH`: a pair of rings in shared memory for each connection, set up over a control socket: at
 * `$XDG_RUNTIME_DIR/sluice/NAME`, or else `/tmp/sluice-UID/NAME`, or at PATH.
 *
 * Options of `connect` and `listen`: `poll: { us }`, for how many microseconds at most this end polls before it sleeps (0 to
 * 1,000; default 50); `allowPeer`, as of `unix:`. Of `listen`: `segment`, what the rings are made in ("memfd" (default),
 * "posix" or "sysv"), `capacity`, the bytes of each of a connection's two rings (a power of two, default 262,144), and `block`, the
 * bytes of each of the blocks for large messages (a multiple of 4,096, default 1,179,648; 0 for none).
 * Of synchronous clients: `wait`, on what they sleep, "socket" (default) or "semaphore".
 */
export function createShmTransport(native: Native, platform: Platform): Transport {
  return {
    scheme: "shm",
    async connect(address, options) {
      const target = parseShmAddress(address);
      if (target.directory !== undefined) requireOwnDirectory(target.directory, "connect to", address);
      return connectRing(native, platform, address, target, options);
    },
    connectSync(address, options, timeoutMs) {
      const target = parseShmAddress(address);
      if (target.directory !== undefined) requireOwnDirectory(target.directory, "connect to", address);
      return connectRingSync(native, address, target, options, timeoutMs);
    },
    async listen(address, accept, options, report) {
      const target = parseShmAddress(address);
      const kind = segmentOption(options);
      if (target.directory !== undefined) {
        makeDirectory(target.directory, address);
        requireOwnDirectory(target.directory, "listen at", address);
      }
      return listenRing(native, platform, address, target, { kind }, accept, options, report);
    },
  };
}

function segmentOption(options: TransportOptions): SegmentKind {
  const value = options["segment"];
  if (value === undefined) return "memfd";
  if (!KINDS.includes(value as SegmentKind))
    throw invalidOption("segment", value, '"memfd", "posix" or "sysv"');
  return value as SegmentKind;
}
