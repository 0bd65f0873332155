/** Sluice's transports: one folder per address scheme, each on `@sluice/native` or, without it, on Node's own modules. */
import { native, nativeUnavailable, type Native } from "@sluice/native";
import type { Transport } from "@sluice/core";
import { memory } from "./memory/index.js";
import { createMmapTransport } from "./mmap/index.js";
import { onDemand } from "./on-demand.js";
import { createPipeTransport } from "./pipe/index.js";
import { createSpawn, type Spawn } from "./pipe/spawn.js";
import { nativePlatform } from "./platform/native/index.js";
import type { Platform } from "./platform/index.js";
import { nodePlatform } from "./platform/node/index.js";
import { createShmTransport } from "./shm/index.js";
import { createStdioTransport } from "./stdio/index.js";
import { createTcpTransport } from "./tcp/index.js";
import { unavailable } from "./unavailable.js";
import { createUnixTransport } from "./unix/index.js";

export type { Spawn, Spawned, SpawnOptions } from "./pipe/spawn.js";
export type { AllowPeer } from "./unix/peer.js";
export { memory, nativeUnavailable };

if (native === undefined && process.env["SLUICE_DEBUG"] === "1") {
  console.error(`sluice: transports use Node's own modules: ${nativeUnavailable}`);
}

/** The transports that need something of the operating system, on one platform. */
export interface PlatformTransports {
  readonly pipe: Transport;
  readonly stdio: Transport;
  readonly unix: Transport;
  readonly tcp: Transport;
  readonly udp: Transport;
  readonly auto: Transport;
  /** Without the addon these only say that they need it. */
  readonly shm: Transport;
  readonly mmap: Transport;
  readonly fifo: Transport;
  readonly mq: Transport;
  readonly sysvmq: Transport;
  readonly spawn: Spawn;
}

function on(platform: Platform, addon?: Native): PlatformTransports {
  const unix = createUnixTransport(platform, addon);
  const shm = addon && createShmTransport(addon, platform);
  return {
    pipe: createPipeTransport(platform, addon),
    stdio: createStdioTransport(platform),
    unix,
    tcp: createTcpTransport(platform, addon),
    udp: onDemand("udp", async () => (await import("./udp/index.js")).createUdpTransport(platform)),
    shm: shm ?? unavailable("shm"),
    mmap: addon ? createMmapTransport(addon, platform) : unavailable("mmap"),
    fifo: addon
      ? onDemand("fifo", async () => (await import("./fifo/index.js")).createFifoTransport(addon, platform))
      : unavailable("fifo"),
    mq: addon
      ? onDemand("mq", async () => (await import("./mq/index.js")).createMqTransport(addon))
      : unavailable("mq"),
    sysvmq: addon
      ? onDemand("sysvmq", async () => (await import("./sysvmq/index.js")).createSysvmqTransport(addon))
      : unavailable("sysvmq"),
    auto: onDemand("auto", async () =>
      (await import("./auto/index.js")).createAutoTransport(platform, unix, shm),
    ),
    spawn: createSpawn(platform),
  };
}

/** On `@sluice/native`; undefined where there is no addon. */
export const nativeTransports = native && on(nativePlatform(native), native);

/** On Node's own modules, everywhere. */
export const nodeTransports = on(nodePlatform);

export const tls = onDemand("tls", async () => (await import("./tls/index.js")).tls);

/** The best to be had here: these are the native ones where there is an addon. */
export const { pipe, stdio, unix, tcp, udp, shm, mmap, fifo, mq, sysvmq, auto, spawn } =
  nativeTransports ?? nodeTransports;

/** Every transport of this package. */
export const transports: readonly Transport[] = [
  memory,
  pipe,
  stdio,
  unix,
  tcp,
  tls,
  udp,
  shm,
  mmap,
  fifo,
  mq,
  sysvmq,
  auto,
];
