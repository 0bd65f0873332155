import { systemClock } from "@sluice/core";
import { atExit } from "../exit.js";
import type { Loop } from "./endpoint.js";

/** Node's event loop. */
export const loop: Loop = {
  clock: systemClock,
  afterTurn: (callback) => void setImmediate(callback),
  atExit,
};
