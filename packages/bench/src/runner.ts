import type { StartOptions } from "./bench-process.js";
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
  /** Untimed load before what has been idle since the last round, unless it is compiled. Default: none. */
  readonly waking?: Waking;
  /**
   * Whether all transports of an implementation share a server process and a client process, in place of a pair for each: there is less
   * to start and to compile, but code is compiled for all of them at once. Default: they do not.
   */
  readonly shared?: true;
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
 * A process that had nothing to do for a while has given memory back, and is slow until it has got it anew, for the longer the more it
 * allocates; and so is one that had only small messages, until it has got what large ones need. So before its first small ones in a round,
 * and before the first large ones of each of its transports, it is loaded with the smallest of them, the most in flight, in steps, until
 * one was no faster than those before.
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
  const wanted = [...groupBy(scenarios, connectionsOf).values()].flat();
  const groups = groupBy(wanted, (scenario) => processesOf(scenario, plan));
  const deadline = performance.now() + (plan.budgetMs ?? Infinity);
  const started: Endpoints[] = [];
  /** By the connections that they have opened. */
  const endpoints = new Map<string, Endpoints>();
  const skipped = new Map<string, Skipped>();
  const skip = (scenario: Scenario, error: unknown) => {
    const { implementation, transport } = scenario;
    const connections = connectionsOf(scenario);
    endpoints.delete(connections);
    if (!skipped.has(connections)) {
      skipped.set(connections, { implementation, transport, reason: withCauses(error) });
    }
  };
  try {
    const starting = groups.entries();
    const startNext = async () => {
      for (const [processes, group] of starting) {
        progress(`starting: ${processes}`);
        const [{ implementation, unpinned }] = group;
        const options = { placement: unpinned ? undefined : plan.placement };
        const opened = new Endpoints(implementation, options);
        started.push(opened);
        for (const [connections, [scenario]] of groupBy(group, connectionsOf)) {
          try {
            await open(opened, scenario, options);
            endpoints.set(connections, opened);
          } catch (error) {
            skip(scenario, error);
          }
        }
      }
    };
    await Promise.all(Array.from({ length: STARTING_AT_ONCE }, startNext));
    const slices = new Map<Scenario, Slice[]>(wanted.map((scenario) => [scenario, []]));
    const measurable = () => wanted.filter((scenario) => endpoints.has(connectionsOf(scenario)));
    const slice = async (scenario: Scenario, timing: Timing, round: string) => {
      const opened = endpoints.get(connectionsOf(scenario));
      if (opened === undefined) return;
      progress(`${round}: ${scenarioId(scenario)}`);
      try {
        return await opened.measure(scenario, timing);
      } catch (error) {
        const failure = new Error(`${scenarioId(scenario)} failed`, { cause: error });
        if (scenario.implementation === "sluice") throw failure;
        // In what state its processes are is not known.
        for (const other of groups.get(processesOf(scenario, plan))!) skip(other, failure);
        await opened.close();
      }
    };
    const warmUps = planWarmUp(measurable(), plan);
    const plannedMs = warmUps.reduce((sum, { loadMs }) => sum + loadMs, 0);
    const began = performance.now();
    const warmUpMs = Math.min(plannedMs, WARM_UP_SHARE * Math.max(0, deadline - began));
    for (const { scenario, loadMs } of warmUps) {
      const sliceMs = (loadMs / plannedMs) * warmUpMs;
      await slice(scenario, { leadInMs: 0, sliceMs, warmUp: true }, "warming up");
    }
    const { leadInMs, sliceMs } = plan.timing;
    const { waking } = plan;
    const wake = async (sleeping: string, { stepMs, mostMs }: Waking, round: string) => {
      const { scenario } = warmUps.find((one) => memoryOf(one.scenario, plan) === sleeping)!;
      let best = 0;
      for (let spentMs = 0; spentMs < mostMs; spentMs += stepMs) {
        const timing = { leadInMs: 0, sliceMs: stepMs, warmUp: true as const };
        const step = await slice(scenario, timing, `${round}: waking`);
        if (step === undefined || step.callsPerSecond < best * FASTER) return;
        best = step.callsPerSecond;
      }
    };
    let lastMs = sliceMs;
    // What the first round will take, by what came on top of the load so far; then what the last one took.
    const sleepers = new Set(warmUps.map(({ scenario }) => memoryOf(scenario, plan))).size;
    const loadMs = measurable().length * (leadInMs + sliceMs) + sleepers * 2 * (waking?.stepMs ?? 0);
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
        const memory = memoryOf(scenario, plan);
        const name = `round ${round + 1} of ${plan.rounds}`;
        if (waking !== undefined && !awake.has(memory) && needsLoad(scenario)) {
          await wake(memory, waking, name);
        }
        awake.add(memory);
        const measured = await slice(scenario, timing, name);
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
    await Promise.all(started.map((opened) => opened.close()));
  }
}

/** Those with the same key, in the order given; keys in the order of their first. */
function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

/** Whether its processes are faster for load that is not timed. */
function needsLoad({ implementation }: Scenario): boolean {
  return !findImplementation(implementation).compiled;
}

/** What is to be warmed up, and for how long: small messages first, and of those with the same size the most in flight. */
export function planWarmUp(
  scenarios: readonly Scenario[],
  plan: Pick<Plan, "warmUp" | "shared">,
): { scenario: Scenario; loadMs: number }[] {
  const { firstMs, otherMs } = plan.warmUp;
  const warm = new Set<string>();
  return scenarios
    .filter(needsLoad)
    .toSorted((a, b) => a.bytes - b.bytes || b.inFlight - a.inFlight)
    .map((scenario) => {
      const { kind } = scenario;
      const code = isStream(kind) ? kind : "calls";
      const shared = `${code} of ${serverOf(scenario, plan)}, ${sizeOf(scenario)} messages`;
      const loadMs = warm.has(shared) ? otherMs : firstMs;
      warm.add(shared);
      return { scenario, loadMs };
    });
}

/** Names what must have got its memory before a scenario is as fast as it will be. */
function memoryOf(scenario: Scenario, plan: Pick<Plan, "shared">): string {
  const size = sizeOf(scenario);
  // With small messages of another transport in between, what large ones need is given back.
  return `${size} messages of ${size === "large" ? connectionsOf(scenario) : serverOf(scenario, plan)}`;
}

function sizeOf({ bytes }: Scenario): "small" | "large" {
  return bytes < LARGE_BYTES ? "small" : "large";
}

/** Names the process that has a scenario's server: a client that brings it has one of its own for each transport. */
function serverOf(scenario: Scenario, plan: Pick<Plan, "shared">): string {
  const { implementation, transport } = scenario;
  const own = findImplementation(implementation).transports[transport] === "by client";
  return own ? connectionsOf(scenario) : processesOf(scenario, plan);
}

/** Names what a scenario's calls travel over: those of the same name are shared. */
function connectionsOf(scenario: Scenario): string {
  const { implementation, transport } = scenario;
  return [`${implementation} on ${transport}`, ...special(scenario)].join(", ");
}

/** Names the processes that a scenario needs: those of the same name are shared. */
function processesOf(scenario: Scenario, { shared }: Pick<Plan, "shared">): string {
  return shared ? [scenario.implementation, ...special(scenario)].join(", ") : connectionsOf(scenario);
}

function special({ connections, unpinned }: Pick<Scenario, "connections" | "unpinned">): string[] {
  return [
    ...(connections === undefined ? [] : [`${connections} connections`]),
    ...(unpinned ? ["unpinned"] : []),
  ];
}

/** Serve the scenario's transport, and have the one client connect. */
async function open(
  endpoints: Endpoints,
  { transport, connections }: Scenario,
  options: StartOptions,
): Promise<void> {
  await endpoints.serve(transport);
  const [client] = endpoints.clients;
  if (client === undefined) await endpoints.addClient(transport, connections, options);
  else await endpoints.connect(client, transport, connections);
}
