import { Endpoints } from "./endpoints.js";
import type { Timing } from "./load.js";
import { withCauses } from "./errors.js";
import { findImplementation } from "./implementations/index.js";
import type { Placement } from "./placement.js";
import type { Skipped } from "./result.js";
import { isStream, scenarioId, type Scenario } from "./scenarios.js";
import type { Slice } from "./statistics.js";

export interface Plan {
  /** How many, unless time runs out. */
  readonly rounds: number;
  /**
   * When to be done, after the start. Warm-up and slices are shorter, slices by half at most, if that is what all rounds
   * take to fit; none but the first is begun that would end later.
   */
  readonly budgetMs?: number;
  /** Load before the first round, thrown away: it is when code is compiled and buffers grow. */
  readonly warmUp: WarmUp;
  readonly timing: Timing;
  /** Untimed load before a pair's first slice in a round, unless it is compiled. Default: none. */
  readonly waking?: Waking;
  /** Default: wherever the kernel likes. */
  readonly placement?: Placement | undefined;
}

/**
 * The scenarios of the same processes share most of their code, whose compilation is in the load of the first; but each kind of
 * stream has code of its own, and large messages have memory of their own, too.
 */
export interface WarmUp {
  /**
   * Of calls or raw echoes, and of each kind of stream: of the scenario with the smallest messages, and of that with the smallest large
   * ones; in all cases the most in flight.
   */
  readonly firstMs: number;
  /** Of each of the others. */
  readonly otherMs: number;
}

/**
 * A process that had nothing to do for a minute has given memory back, and is slow until it has got it anew, for the longer the more it
 * allocates. So it is loaded with its smallest messages, the most in flight, in steps, until one was no faster than those before.
 */
export interface Waking {
  readonly stepMs: number;
  /** All steps together. */
  readonly mostMs: number;
}

/** A step is faster than those before only by so much: less is noise. */
const FASTER = 1.1;

/** Messages of so many bytes and more are large. */
const LARGE_BYTES = 64 * 1024;

/** How much of the time that is left the warm-up may take, where there is not enough. */
const WARM_UP_SHARE = 0.35;

/** A few, so that servers and clients, which have CPUs of their own, start beside each other. */
const STARTING_AT_ONCE = 4;

export interface Measured {
  /** Those of the scenarios that could be measured. */
  readonly scenarios: readonly Scenario[];
  /** Of each, in the order of rounds. */
  readonly slices: readonly (readonly Slice[])[];
  readonly skipped: readonly Skipped[];
}

/**
 * Measure `scenarios` in rounds: a short slice of each, one after the other, then again, so that whatever else the
 * machine does meanwhile meets them all alike. Odd rounds go backwards. All processes are started first and kept; only
 * those of the scenario being timed have anything to do. What does not start is skipped, and so is a peer that fails;
 * rejects where Sluice does.
 */
export async function measure(
  scenarios: readonly Scenario[],
  plan: Plan,
  progress: (text: string) => void,
): Promise<Measured> {
  const wanted = byProcesses(scenarios);
  const deadline = performance.now() + (plan.budgetMs ?? Infinity);
  const endpoints = new Map<string, Endpoints>();
  const skipped = new Map<string, Skipped>();
  const skip = (scenario: Scenario, error: unknown) => {
    const { implementation, transport } = scenario;
    skipped.set(processesOf(scenario), { implementation, transport, reason: withCauses(error) });
  };
  try {
    const starting = new Map(wanted.map((scenario) => [processesOf(scenario), scenario])).entries();
    const startNext = async () => {
      for (const [key, scenario] of starting) {
        progress(`starting: ${key}`);
        try {
          endpoints.set(key, await start(scenario, plan));
        } catch (error) {
          skip(scenario, error);
        }
      }
    };
    await Promise.all(Array.from({ length: STARTING_AT_ONCE }, startNext));
    const slices = new Map<Scenario, Slice[]>(wanted.map((scenario) => [scenario, []]));
    const measurable = () => wanted.filter((scenario) => endpoints.has(processesOf(scenario)));
    const slice = async (scenario: Scenario, timing: Timing, round: string) => {
      const key = processesOf(scenario);
      const opened = endpoints.get(key);
      if (opened === undefined) return;
      progress(`${round}: ${scenarioId(scenario)}`);
      try {
        return await opened.measure(scenario, timing);
      } catch (error) {
        const failure = new Error(`${scenarioId(scenario)} failed`, { cause: error });
        if (scenario.implementation === "sluice") throw failure;
        skip(scenario, failure);
        endpoints.delete(key);
        await opened.close();
      }
    };
    const warmUps = planWarmUp(measurable(), plan.warmUp);
    const plannedMs = warmUps.reduce((sum, { loadMs }) => sum + loadMs, 0);
    const began = performance.now();
    const warmUpMs = Math.min(plannedMs, WARM_UP_SHARE * Math.max(0, deadline - began));
    for (const { scenario, loadMs } of warmUps) {
      const sliceMs = (loadMs / plannedMs) * warmUpMs;
      await slice(scenario, { leadInMs: 0, sliceMs, warmUp: true }, "warming up");
    }
    const { leadInMs, sliceMs } = plan.timing;
    const { waking } = plan;
    const wake = async (key: string, { stepMs, mostMs }: Waking) => {
      const scenario = warmUps.find((one) => processesOf(one.scenario) === key)!.scenario;
      let best = 0;
      for (let spentMs = 0; spentMs < mostMs; spentMs += stepMs) {
        const step = await slice(scenario, { leadInMs: 0, sliceMs: stepMs, warmUp: true }, "waking");
        if (step === undefined || step.callsPerSecond < best * FASTER) return;
        best = step.callsPerSecond;
      }
    };
    let lastMs = sliceMs;
    // What the first round will take, by what came on top of the load so far; then what the last one took.
    const pairs = new Set(measurable().filter(needsLoad).map(processesOf)).size;
    const loadMs = measurable().length * (leadInMs + sliceMs) + pairs * 2 * (waking?.stepMs ?? 0);
    let roundMs = performance.now() - began - warmUpMs + loadMs;
    for (let round = 0; round < plan.rounds; round++) {
      const began = performance.now();
      const order = measurable();
      const affordedMs = (deadline - began) / (plan.rounds - round);
      const fittingMs = lastMs + (affordedMs - roundMs) / order.length;
      const nextMs = Math.min(sliceMs, Math.max(fittingMs, sliceMs / 2));
      if (round > 0 && began + roundMs + (nextMs - lastMs) * order.length > deadline) break;
      lastMs = nextMs;
      if (round % 2 === 1) order.reverse();
      const awake = new Set<string>();
      for (const scenario of order) {
        const timing = { leadInMs, sliceMs: nextMs };
        const key = processesOf(scenario);
        if (waking !== undefined && !awake.has(key) && needsLoad(scenario)) await wake(key, waking);
        awake.add(key);
        const measured = await slice(scenario, timing, `round ${round + 1} of ${plan.rounds}`);
        if (measured !== undefined) slices.get(scenario)!.push(measured);
      }
      roundMs = performance.now() - began;
    }
    const measured = measurable();
    return {
      scenarios: measured,
      slices: measured.map((scenario) => slices.get(scenario)!),
      skipped: [...skipped.values()],
    };
  } finally {
    progress("ending the processes");
    await Promise.all([...endpoints.values()].map((opened) => opened.close()));
  }
}

/** Those of the same processes one after the other; else in the order given. */
function byProcesses(scenarios: readonly Scenario[]): Scenario[] {
  const groups = new Map<string, Scenario[]>();
  for (const scenario of scenarios) {
    const key = processesOf(scenario);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [scenario]);
    else group.push(scenario);
  }
  return [...groups.values()].flat();
}

/** Whether its processes are faster for load that is not timed. */
function needsLoad({ implementation }: Scenario): boolean {
  return !findImplementation(implementation).compiled;
}

/** What is to be warmed up, and for how long: small messages first, and of those with the same size the most in flight. */
export function planWarmUp(scenarios: readonly Scenario[], { firstMs, otherMs }: WarmUp) {
  const warm = new Set<string>();
  return scenarios
    .filter(needsLoad)
    .toSorted((a, b) => a.bytes - b.bytes || b.inFlight - a.inFlight)
    .map((scenario) => {
      const { bytes, kind } = scenario;
      const code = isStream(kind) ? kind : "calls";
      const shared = `${processesOf(scenario)}, ${code}, ${bytes < LARGE_BYTES ? "small" : "large"} messages`;
      const loadMs = warm.has(shared) ? otherMs : firstMs;
      warm.add(shared);
      return { scenario, loadMs };
    });
}

/** Names the processes that a scenario needs: those of the same name are shared. */
function processesOf({ implementation, transport, connections, unpinned }: Scenario): string {
  const more = [connections && `${connections} connections`, unpinned && "unpinned"].filter(Boolean);
  return [`${implementation} on ${transport}`, ...more].join(", ");
}

async function start(scenario: Scenario, plan: Plan): Promise<Endpoints> {
  const { implementation, transport, connections, unpinned } = scenario;
  const options = { placement: unpinned ? undefined : plan.placement };
  const opened = await Endpoints.open(implementation, transport, options);
  try {
    await opened.addClient(connections, options);
    return opened;
  } catch (error) {
    await opened.close();
    throw error;
  }
}
