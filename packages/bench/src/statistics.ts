/** The few statistics that the results need. */

/** The smallest value with at least `fraction` of `sorted` (ascending, not empty) at or below it. */
export function percentile(sorted: ArrayLike<number>, fraction: number): number {
  const rank = Math.ceil(fraction * sorted.length);
  return sorted[Math.max(0, rank - 1)];
}

/** The middle of `values` (not empty, any order), or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What one stretch of timed load gave. */
export interface Slice {
  readonly calls: number;
  readonly callsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

export type Figures = Pick<Slice, "callsPerSecond" | "p50Us" | "p99Us">;

export interface Summary extends Figures {
  /** How many slices these are the medians of. */
  readonly rounds: number;
  readonly min: Figures;
  readonly max: Figures;
}

/** Medians of several slices of one scenario, and how far they spread. No slice is left out. */
export function summarise(slices: readonly Slice[]): Summary {
  const over = (reduce: (values: number[]) => number): Figures => ({
    callsPerSecond: reduce(slices.map((slice) => slice.callsPerSecond)),
    p50Us: reduce(slices.map((slice) => slice.p50Us)),
    p99Us: reduce(slices.map((slice) => slice.p99Us)),
  });
  return {
    ...over(median),
    rounds: slices.length,
    min: over((values) => Math.min(...values)),
    max: over((values) => Math.max(...values)),
  };
}
