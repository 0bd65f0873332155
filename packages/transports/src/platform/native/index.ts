import type { Native } from "@sluice/native";
import type { Platform } from "../index.js";
import { createDatagrams } from "./datagrams.js";
import { openLocked } from "./lock.js";
import { createPipes } from "./pipes.js";
import { createSockets } from "./sockets.js";

/** On `@sluice/native`. */
export function nativePlatform(native: Native): Platform {
  const { AesGcm } = native;
  return {
    native: true,
    sockets: createSockets(native),
    datagrams: createDatagrams(native),
    createPacketCipher: AesGcm && ((key) => new AesGcm(key)),
    pipes: createPipes(native),
    openLocked: (path, waitMs) => openLocked(native, path, waitMs),
  };
}
