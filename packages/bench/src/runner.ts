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
 * and before its first large ones, it is loaded with the smallest of them, the most in flight, in steps, until one was no faster than
 * those before.
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
  const deadline = performance.now() + (plan.budgetMs ?? Infinity);
  const pool = new Pool(scenarios, plan, progress);
  try {
    await pool.start();
    const slices = new Map<Scenario, Slice[]>(pool.measurable.map((scenario) => [scenario, []]));
    const warmUps = planWarmUp(pool.measurable, plan);
    const plannedMs = warmUps.reduce((sum, { loadMs }) => sum + loadMs, 0);
    const began = performance.now();
    const warmUpMs = Math.min(plannedMs, WARM_UP_SHARE * Math.max(0, deadline - began));
    for (const { scenario, loadMs } of warmUps) {
      await pool.load(scenario, (loadMs / plannedMs) * warmUpMs, "warming up");
    }
    const { leadInMs, sliceMs } = plan.timing;
    const { waking } = plan;
    const wake = async (sleeping: string, { stepMs, mostMs }: Waking, round: string) => {
      const { scenario } = warmUps.find((one) => memoryOf(one.scenario) === sleeping)!;
      let best = 0;
      for (let spentMs = 0; spentMs < mostMs; spentMs += stepMs) {
        const step = await pool.load(scenario, stepMs, `${round}: waking`);
        if (step === undefined || step.callsPerSecond < best * FASTER) return;
        best = step.callsPerSecond;
      }
    };
    let lastMs = sliceMs;
    // What the first round will take, by what came on top of the load so far; then what the last one took.
    const sleepers = new Set(warmUps.map(({ scenario }) => memoryOf(scenario))).size;
    const loadMs = pool.measurable.length * (leadInMs + sliceMs) + sleepers * 2 * (waking?.stepMs ?? 0);
    let roundMs = performance.now() - began - warmUpMs + loadMs;
    for (let round = 0; round < plan.rounds; round++) {
      const began = performance.now();
      const order = pool.measurable;
      const affordedMs = (deadline - began) / (plan.rounds - round);
      const fittingMs = lastMs + (affordedMs - roundMs) / order.length;
      const nextMs = Math.min(sliceMs, Math.max(fittingMs, sliceMs / 2));
      if (round > 0 && began + roundMs + (nextMs - lastMs) * order.length > deadline) break;
      lastMs = nextMs;
      if (round % 2 === 1) order.reverse();
      const name = `round ${round + 1} of ${plan.rounds}`;
      const awake = new Set<string>();
      for (const scenario of order) {
        const memory = memoryOf(scenario);
        if (waking !== undefined && !awake.has(memory) && needsLoad(scenario)) {
          await wake(memory, waking, name);
        }
        awake.add(memory);
        const slice = await pool.slice(scenario, { leadInMs, sliceMs: nextMs }, name);
        if (slice !== undefined) slices.get(scenario)!.push(slice);
      }
      roundMs = performance.now() - began;
    }
    const { measurable, skipped } = pool;
    return {
      scenarios: measurable,
      slices: measurable.map((scenario) => slices.get(scenario)!),
      skipped,
    };
  } finally {
    await pool.close();
  }
}

/** The processes of all scenarios, and what has failed of them. */
class Pool {
  readonly #plan: Plan;
  readonly #progress: (text: string) => void;
  readonly #scenarios: readonly Scenario[];
  /** By the processes that they share. */
  readonly #groups: ReadonlyMap<string, readonly Scenario[]>;
  readonly #started: Endpoints[] = [];
  /** By the connections that they have opened. */
  readonly #endpoints = new Map<string, Endpoints>();
  readonly #skipped = new Map<string, Skipped>();

  constructor(scenarios: readonly Scenario[], plan: Plan, progress: (text: string) => void) {
    this.#plan = plan;
    this.#progress = progress;
    this.#scenarios = [...groupBy(scenarios, connectionsOf).values()].flat();
    this.#groups = groupBy(this.#scenarios, (scenario) => processesOf(scenario, plan));
  }

  /** Those that have neither failed nor not started: of the same connections one after the other, else in the order given. */
  get measurable(): Scenario[] {
    return this.#scenarios.filter((scenario) => this.#endpoints.has(connectionsOf(scenario)));
  }

  get skipped(): Skipped[] {
    return [...this.#skipped.values()];
  }

  async start(): Promise<void> {
    const starting = this.#groups.entries();
    const startNext = async () => {
      for (const [processes, scenarios] of starting) {
        this.#progress(`starting: ${processes}`);
        await this.#startGroup(scenarios);
      }
    };
    await Promise.all(Array.from({ length: STARTING_AT_ONCE }, startNext));
  }

  async #startGroup(scenarios: readonly Scenario[]): Promise<void> {
    const [{ implementation, unpinned }] = scenarios;
    const options = { placement: unpinned ? undefined : this.#plan.placement };
    const endpoints = new Endpoints(implementation, options);
    this.#started.push(endpoints);
    for (const [name, [scenario]] of groupBy(scenarios, connectionsOf)) {
      try {
        await open(endpoints, scenario, options);
        this.#endpoints.set(name, endpoints);
      } catch (error) {
        this.#skip(scenario, error);
      }
    }
    // What has nothing to do must not disturb what is timed.
    if (!scenarios.some((scenario) => this.#endpoints.has(connectionsOf(scenario)))) await endpoints.close();
  }

  /** Load without timing, to be thrown away. */
  load(scenario: Scenario, loadMs: number, stage: string): Promise<Slice | undefined> {
    return this.slice(scenario, { leadInMs: 0, sliceMs: loadMs, warmUp: true }, stage);
  }

  /** Undefined where it fails, if it is a peer's, or has failed before. Rejects where Sluice fails. */
  async slice(scenario: Scenario, timing: Timing, stage: string): Promise<Slice | undefined> {
    const endpoints = this.#endpoints.get(connectionsOf(scenario));
    if (endpoints === undefined) return undefined;
    this.#progress(`${stage}: ${scenarioId(scenario)}`);
    try {
      return await endpoints.measure(scenario, timing);
    } catch (error) {
      const failure = new Error(`${scenarioId(scenario)} failed`, { cause: error });
      if (scenario.implementation === "sluice") throw failure;
      // In what state its processes are is not known.
      for (const other of this.#groups.get(processesOf(scenario, this.#plan))!) this.#skip(other, failure);
      await endpoints.close();
      return undefined;
    }
  }

  #skip(scenario: Scenario, error: unknown): void {
    const { implementation, transport } = scenario;
    const connections = connectionsOf(scenario);
    this.#endpoints.delete(connections);
    if (this.#skipped.has(connections)) return;
    this.#skipped.set(connections, { implementation, transport, reason: withCauses(error) });
  }

  async close(): Promise<void> {
    this.#progress("ending the processes");
    await Promise.all(this.#started.map((endpoints) => endpoints.close()));
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
      const code = isStream(scenario.kind) ? scenario.kind : "calls";
      const common = `${code} of ${serverOf(scenario, plan)}, ${sizeOf(scenario)} messages`;
      const loadMs = warm.has(common) ? otherMs : firstMs;
      warm.add(common);
      return { scenario, loadMs };
    });
}

/** Names what must have got its memory before a scenario is as fast as it will be. */
function memoryOf(scenario: Scenario): string {
  return `${sizeOf(scenario)} messages of ${connectionsOf(scenario)}`;
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
