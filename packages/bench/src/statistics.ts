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

/** Calls a second, and what so many per cent (p999: 99.9) of the calls took at most, in microseconds. */
export interface Figures {
  readonly callsPerSecond: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
}

/** What one stretch of timed load gave. */
export interface Slice extends Figures {
  readonly calls: number;
}

export interface Summary extends Figures {
  /** How many slices these are the medians of. */
  readonly rounds: number;
  readonly min: Figures;
  readonly max: Figures;
}

/** Medians of several slices of one scenario, and how far they spread. No slice is left out. */
export function summarise(slices: readonly Slice[]): Summary {
  const over = (reduce: (values: number[]) => number): Figures => {
    const figure = (name: keyof Figures) => reduce(slices.map((slice) => slice[name]));
    return {
      callsPerSecond: figure("callsPerSecond"),
      p50Us: figure("p50Us"),
      p90Us: figure("p90Us"),
      p99Us: figure("p99Us"),
      p999Us: figure("p999Us"),
    };
  };
  return {
    ...over(median),
    rounds: slices.length,
    min: over((values) => Math.min(...values)),
    max: over((values) => Math.max(...values)),
  };
}

/**
 * How likely it is by chance alone that, of two sets of so many repetitions of the same thing, all of one are below all of
 * the other: the least p that a Mann-Whitney test, two-sided, can give for them.
 */
export function chanceApart(repetitions: number, others: number): number {
  let ways = 1;
  for (let i = 1; i <= others; i++) ways = (ways * (repetitions + i)) / i;
  return Math.min(1, 2 / ways);
}
