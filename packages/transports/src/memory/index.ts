import type { Transport } from "@sluice/core";
import { connect } from "./connect.js";
import { listen } from "./listen.js";

/**
 * `memory:NAME`: inside one JavaScript thread, for tests and for services that share a process. Messages are encoded and
 * decoded as on every other transport; objects are never shared. Delivers in a microtask. No options of its own.
 */
export const memory: Transport = { scheme: "memory", connect, listen };
