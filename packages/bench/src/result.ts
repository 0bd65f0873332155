/** What a run found: the content of the file that `--json` writes and `--markdown` reads. */
import type { AllocationResult } from "./allocation.js";
import type { HeldResult } from "./held.js";
import type { IdleResult } from "./idle.js";
import type { Machine } from "./machine.js";
import type { Placement } from "./placement.js";
import type { PollingResult } from "./polling.js";
import { plain, scenarioId, type CallOption, type Kind, type Scenario } from "./scenarios.js";
import type { SizeResult } from "./size.js";
import type { StartUpResult } from "./start-up.js";
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

/** A scenario that differs from a plain one in one respect, and is compared with it. */
interface VariantRow extends Row {
  /** Part of calls/s that it takes, in percent: the median over rounds, each against the plain scenario of that round. */
  readonly costPercent: number;
}

/** Every call carries something more. */
export interface CallOptionRow extends VariantRow {
  readonly option: CallOption;
}

/** The calls are spread over this many connections. */
export interface ConnectionsRow extends VariantRow {
  readonly connections: number;
}

/** What could not be measured here, and why. */
export interface Skipped {
  readonly implementation: string;
  readonly transport: string;
  readonly reason: string;
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
  readonly connections: readonly ConnectionsRow[];
  /** Where the kernel chose the CPUs, although `placement` says where it did not. */
  readonly unpinned: readonly VariantRow[];
  readonly skipped: readonly Skipped[];
  readonly idle: readonly IdleResult[];
  readonly polling: readonly PollingResult[];
  readonly held: readonly HeldResult[];
  readonly allocation: readonly AllocationResult[];
  readonly startUp: readonly StartUpResult[];
  readonly sizes: readonly SizeResult[];
}

/** What a result always has, if only an empty list. */
export const RESULT_FIELDS = Object.keys({
  date: 0,
  command: 0,
  machine: 0,
  placement: 0,
  versions: 0,
  rows: 0,
  callOptions: 0,
  connections: 0,
  unpinned: 0,
  skipped: 0,
  idle: 0,
  polling: 0,
  held: 0,
  allocation: 0,
  startUp: 0,
  sizes: 0,
} satisfies Record<keyof BenchResult, 0>) as (keyof BenchResult)[];

/** Rows of `scenarios` from their slices. What is to be compared with a plain scenario that is not among them has none. */
export function makeRows(
  scenarios: readonly Scenario[],
  slices: readonly (readonly Slice[])[],
): Pick<BenchResult, "rows" | "callOptions" | "connections" | "unpinned"> {
  const rows: Row[] = [];
  const callOptions: CallOptionRow[] = [];
  const connections: ConnectionsRow[] = [];
  const unpinned: VariantRow[] = [];
  const ids = scenarios.map(scenarioId);
  for (const [index, scenario] of scenarios.entries()) {
    const base = slices[ids.indexOf(scenarioId(plain(scenario)))];
    if (base === undefined) continue;
    const costs = slices[index].map(
      (slice, round) => (1 - slice.callsPerSecond / base[round].callsPerSecond) * 100,
    );
    const row: VariantRow = { ...plain(scenario), ...summarise(slices[index]), costPercent: median(costs) };
    if (scenario.option !== undefined) callOptions.push({ ...row, option: scenario.option });
    else if (scenario.connections !== undefined)
      connections.push({ ...row, connections: scenario.connections });
    else if (scenario.unpinned) unpinned.push(row);
    else rows.push({ ...plain(scenario), ...summarise(slices[index]) });
  }
  return { rows, callOptions, connections, unpinned };
}
