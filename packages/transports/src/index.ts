/** Sluice's transports: one folder per address scheme, each on `@sluice/native` or, without it, on Node's own modules. */
import { native, nativeUnavailable } from "@sluice/native";
import type { Transport } from "@sluice/core";
import { memory } from "./memory/index.js";
import { createPipeTransport } from "./pipe/index.js";
import { createSpawn, type Spawn } from "./pipe/spawn.js";
import { nativePlatform } from "./platform/native/index.js";
import { nodePlatform } from "./platform/node/index.js";
import { createStdioTransport } from "./stdio/index.js";
import { createTcpTransport } from "./tcp/index.js";
import { createUnixTransport } from "./unix/index.js";

export { parseScheme } from "./address.js";
export type { Spawn, Spawned, SpawnOptions } from "./pipe/spawn.js";
export type { AllowPeer } from "./unix/peer.js";
export { memory };

if (native === undefined && process.env["SLUICE_DEBUG"] === "1") {
  console.error(`sluice: transports use Node's own modules: ${nativeUnavailable}`);
}

const platform = native === undefined ? nodePlatform : nativePlatform(native);

export const pipe: Transport = createPipeTransport(platform);
export const stdio: Transport = createStdioTransport(platform);
export const unix: Transport = createUnixTransport(platform);
export const tcp: Transport = createTcpTransport(platform);

/** Every transport of this package. */
export const transports: readonly Transport[] = [memory, pipe, stdio, unix, tcp];

export const spawn: Spawn = createSpawn(platform);
