import { Endpoints } from "./endpoints.js";
import type { Timing } from "./load.js";
import type { Placement } from "./placement.js";
import { scenarioId, type Scenario } from "./scenarios.js";
import type { Slice } from "./statistics.js";

export interface Plan {
  /** How many, unless time runs out. */
  readonly rounds: number;
  /** No further round is begun that would, if it took as long as the last, end later than this after the start. */
  readonly budgetMs?: number;
  /** Each scenario's load before the first round, thrown away: it is when code is compiled and buffers grow. */
  readonly warmUpMs: number;
  readonly timing: Timing;
  /** Default: wherever the kernel likes. */
  readonly placement?: Placement | undefined;
}

/**
 * Measure `scenarios` in rounds: a short slice of each, one after the other, then again, so that whatever else the
 * machine does meanwhile meets them all alike. Odd rounds go backwards. All processes are started first and kept; only
 * those of the scenario being timed have anything to do. Resolves to each scenario's slices, in the order of rounds.
 */
export async function measure(
  scenarios: readonly Scenario[],
  plan: Plan,
  progress: (text: string) => void,
): Promise<Slice[][]> {
  const deadline = performance.now() + (plan.budgetMs ?? Infinity);
  const endpoints = new Map<string, Endpoints>();
  const key = ({ implementation, transport }: Scenario) => `${implementation} ${transport}`;
  const slices: Slice[][] = scenarios.map(() => []);
  try {
    for (const scenario of scenarios) {
      if (endpoints.has(key(scenario))) continue;
      progress(`starting ${scenario.implementation} on ${scenario.transport}`);
      const opened = await Endpoints.open(scenario.implementation, scenario.transport, plan);
      endpoints.set(key(scenario), opened);
      await opened.addClient(1, plan);
    }
    const slice = async (index: number, timing: Timing, round: string) => {
      const scenario = scenarios[index];
      progress(`${round}: ${scenarioId(scenario)}`);
      try {
        return await endpoints.get(key(scenario))!.measure(scenario, timing);
      } catch (error) {
        throw new Error(`${scenarioId(scenario)} failed`, { cause: error });
      }
    };
    for (const index of scenarios.keys()) {
      await slice(index, { leadInMs: 0, sliceMs: plan.warmUpMs }, "warming up");
    }
    for (let round = 0; round < plan.rounds; round++) {
      const began = performance.now();
      const order = [...scenarios.keys()];
      if (round % 2 === 1) order.reverse();
      for (const index of order) {
        slices[index].push(await slice(index, plan.timing, `round ${round + 1} of ${plan.rounds}`));
      }
      const now = performance.now();
      if (now + (now - began) > deadline) break;
    }
    return slices;
  } finally {
    progress("ending the processes");
    await Promise.all([...endpoints.values()].map((opened) => opened.close()));
  }
}
