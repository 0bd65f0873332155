import type { Platform } from "@sluice/core/protobuf";

// Not exported by its package, since users have no business with it; and core's own tests must not need all of Node's.
const url = new URL("../../../../node/dist/platform.js", import.meta.url).href;

/** What @sluice/node installs. */
export const { nodePlatform } = (await import(url)) as { nodePlatform: Platform };
