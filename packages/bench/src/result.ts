/** What a run found: the content of the file that `--json` writes and `--markdown` reads. */
import type { IdleResult } from "./idle.js";
import type { Machine } from "./machine.js";
import type { Placement } from "./placement.js";
import type { PollingResult } from "./polling.js";
import { plain, scenarioId, type CallOption, type Kind, type Scenario } from "./scenarios.js";
import { median, summarise, type Slice, type Summary } from "./statistics.js";

/**
 * One scenario's medians over the rounds, and the least and the greatest. Times are microseconds. Of streams,
 * `callsPerSecond` counts messages, and the times are those between one message and the next, averaged over 100.
 */
export interface Row extends Summary {
  readonly implementation: string;
  readonly transport: string;
  readonly kind: Kind;
  readonly bytes: number;
  readonly inFlight: number;
}

/** A scenario whose every call carries something more. */
export interface CallOptionRow extends Row {
  readonly option: CallOption;
  /** Part of calls/s that it takes, in percent: the median over rounds, each against the plain calls of that round. */
  readonly costPercent: number;
}

export interface BenchResult {
  /** When the run began, in ISO 8601. */
  readonly date: string;
  /** What was typed after `npm run bench --`. */
  readonly command: string;
  readonly machine: Machine;
  /** The CPUs that servers and clients were pinned to; null where the kernel chose. */
  readonly placement: Placement | null;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
  readonly callOptions: readonly CallOptionRow[];
  readonly idle: readonly IdleResult[];
  readonly polling: readonly PollingResult[];
}

/** Rows of `scenarios` from their slices. A call option's row needs its plain scenario among them. */
export function makeRows(
  scenarios: readonly Scenario[],
  slices: readonly (readonly Slice[])[],
): Pick<BenchResult, "rows" | "callOptions"> {
  const rows: Row[] = [];
  const callOptions: CallOptionRow[] = [];
  const ids = scenarios.map(scenarioId);
  for (const [index, scenario] of scenarios.entries()) {
    const row: Row = { ...plain(scenario), ...summarise(slices[index]) };
    const { option } = scenario;
    if (option === undefined) {
      rows.push(row);
    } else {
      const base = slices[ids.indexOf(scenarioId(plain(scenario)))];
      const costs = slices[index].map(
        (slice, round) => (1 - slice.callsPerSecond / base[round].callsPerSecond) * 100,
      );
      callOptions.push({ ...row, option, costPercent: median(costs) });
    }
  }
  return { rows, callOptions };
}
