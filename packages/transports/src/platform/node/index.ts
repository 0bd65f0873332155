import type { Platform } from "../index.js";
import { datagrams } from "./datagrams.js";
import { openLocked } from "./lock.js";
import { pipes } from "./pipes.js";
import { sockets } from "./sockets.js";

/** On Node's own modules: for hosts without the addon. */
export const nodePlatform: Platform = { native: false, sockets, datagrams, pipes, openLocked };
