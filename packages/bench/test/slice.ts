import type { Slice } from "@sluice/bench/statistics.js";

/** A slice of one call, in which half the calls took as long as the rate says, and some took longer. */
export function sliceOf(callsPerSecond: number): Slice {
  const us = 1e6 / callsPerSecond;
  return { calls: 1, callsPerSecond, p50Us: us, p90Us: 1.5 * us, p99Us: 2 * us, p999Us: 3 * us };
}
