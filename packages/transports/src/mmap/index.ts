import { dirname, resolve } from "node:path";
import type { Transport } from "@sluice/core";
import type { Native } from "@sluice/native";
import { connectRingSync } from "../blocking/connect.js";
import { invalidAddress, splitAddress } from "../address.js";
import type { Platform } from "../platform/index.js";
import { connectRing, listenRing } from "../ring/endpoint.js";
import { requireLength, type UnixAddress } from "../unix/address.js";

/**
 * `mmap:PATH`: the rings of `shm:`, in memory-mapped files. A control socket is at PATH; each connection's file is made in the
 * same directory, preallocated, and has no name any more when it is used.
 *
 * Options as of `shm:`, without `segment`.
 */
export function createMmapTransport(native: Native, platform: Platform): Transport {
  return {
    scheme: "mmap",
    connect: async (address, options) =>
      connectRing(native, platform, address, parseMmapAddress(address), options),
    connectSync: (address, options, timeoutMs) =>
      connectRingSync(native, address, parseMmapAddress(address), options, timeoutMs),
    async listen(address, accept, options, report) {
      const target = parseMmapAddress(address);
      // Resolved now: the process may change its working directory.
      const source = { kind: "file", directory: dirname(resolve(target.path)) } as const;
      return listenRing(native, platform, address, target, source, accept, options, report);
    },
  };
}

function parseMmapAddress(address: string): UnixAddress {
  const path = splitAddress(address, "mmap");
  if (path === "") throw invalidAddress(address, "write mmap:PATH");
  if (path.includes("\0")) throw invalidAddress(address, "it contains a NUL character");
  requireLength(path, "path", address);
  // A leading @ is part of the path here: abstract names have no directory for the files.
  return { path: path.startsWith("@") ? `./${path}` : path, abstract: false };
}
