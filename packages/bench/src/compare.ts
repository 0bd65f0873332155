/** What changed from one run to another, beyond what repeating the same run changes. */
import { findImplementation } from "./implementations/index.js";
import type { BenchResult, Row } from "./result.js";
import { scenarioId } from "./scenarios.js";
import { chanceApart, median, type Figures } from "./statistics.js";

/** Less is not worth telling, however sure. */
export const MIN_CHANGE = 0.05;
/** With fewer repetitions in either run, chance would be called a change too often. */
const MIN_ROUNDS = 3;
const FIGURES = ["callsPerSecond", "p50Us", "p99Us"] as const satisfies (keyof Figures)[];

/** One scenario that both runs measured. */
export interface Change {
  readonly id: string;
  readonly before: Row;
  readonly after: Row;
  /** Which of its figures changed. */
  readonly changed: readonly (keyof Figures)[];
  /** Whether what was measured is the same in both runs: a peer of the same version, or C++. */
  readonly control: boolean;
}

export interface Comparison {
  /** In the order of the later run. */
  readonly changes: readonly Change[];
  /** How many of them were repeated too seldom for anything to be called a change. */
  readonly undecided: number;
  /** How likely one figure is called changed by chance alone, at this many repetitions: the mean over all, undecided ones too. */
  readonly chance: number;
  /** Calls/s of the controls, after against before: what became of the machine. Undefined without controls. */
  readonly machine: number | undefined;
  /** What differs about the runs themselves, in words. */
  readonly differences: readonly string[];
}

/**
 * A figure has changed where all its repetitions in one run are beyond all those in the other, and the medians differ by a
 * twentieth or more. Repetitions of one run share its machine's mood; how many of the controls "changed" shows that.
 */
export function compare(before: BenchResult, after: BenchResult): Comparison {
  const rowsBefore = new Map(rowsById(before));
  const changes = rowsById(after).flatMap(([id, row]): Change[] => {
    const earlier = rowsBefore.get(id);
    if (earlier === undefined) return [];
    const changed = FIGURES.filter((figure) => hasChanged(earlier, row, figure));
    return [{ id, before: earlier, after: row, changed, control: isControl(row, before, after) }];
  });
  const controls = changes.filter(({ control }) => control);
  const decided = changes.filter((change) => isDecidable(change.before, change.after));
  const chances = decided.map((change) => chanceApart(change.before.rounds, change.after.rounds));
  return {
    changes,
    undecided: changes.length - decided.length,
    chance: chances.reduce((sum, chance) => sum + chance, 0) / changes.length,
    machine:
      controls.length === 0
        ? undefined
        : median(controls.map((change) => change.after.callsPerSecond / change.before.callsPerSecond)),
    differences: differences(before, after),
  };
}

function rowsById(result: BenchResult): [string, Row][] {
  return [
    ...result.rows,
    ...result.callOptions,
    ...result.connections,
    ...result.unpinned.map((row) => ({ ...row, unpinned: true as const })),
  ].map((row) => [scenarioId(row), row]);
}

function isDecidable(before: Row, after: Row): boolean {
  return Math.min(before.rounds, after.rounds) >= MIN_ROUNDS;
}

function hasChanged(before: Row, after: Row, figure: keyof Figures): boolean {
  if (!isDecidable(before, after)) return false;
  const apart = before.max[figure] < after.min[figure] || after.max[figure] < before.min[figure];
  return apart && Math.abs(after[figure] / before[figure] - 1) >= MIN_CHANGE;
}

function isControl({ implementation }: Row, before: BenchResult, after: BenchResult): boolean {
  if (implementation === "sluice") return false;
  const { packageName } = findImplementation(implementation);
  return (
    before.versions["node"] === after.versions["node"] &&
    (packageName === undefined || before.versions[packageName] === after.versions[packageName])
  );
}

function differences(before: BenchResult, after: BenchResult): string[] {
  const describe = ({ machine, placement, versions }: BenchResult): Record<string, string> => ({
    CPU: `${machine.cpus} x ${machine.cpu}`,
    kernel: machine.kernel,
    placement: placement === null ? "not pinned" : `CPUs ${placement.serverCpu} and ${placement.clientCpu}`,
    ...versions,
  });
  const [old, now] = [describe(before), describe(after)];
  return Object.keys(now)
    .filter((name) => old[name] !== undefined && old[name] !== now[name])
    .map((name) => `${name}: ${old[name]}, now ${now[name]}`);
}
