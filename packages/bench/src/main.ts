/** `npm run bench -- OPTIONS`: see `--help`. */
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { Command, InvalidArgumentError } from "commander";
import { measureIdle, type IdleResult } from "./idle.js";
import { loadImplementation } from "./implementations/index.js";
import { describeMachine, versions } from "./machine.js";
import { defaultPlacement, type Placement } from "./placement.js";
import { measurePolling, type PollingResult } from "./polling.js";
import { profile } from "./profile.js";
import { startProgress } from "./progress.js";
import { markdownReport, terminalReport } from "./report.js";
import { makeRows, type BenchResult } from "./result.js";
import { measure, type Plan } from "./runner.js";
import {
  allScenarios,
  findScenario,
  quickScenarios,
  scenarioId,
  selectScenarios,
  type Scenario,
} from "./scenarios.js";

interface Options {
  quick?: boolean;
  only?: string[];
  rounds?: number;
  idleConnections?: number;
  polling?: boolean;
  cpus?: Placement;
  pin: boolean;
  json?: string;
  list?: boolean;
  profile?: string;
  markdown?: string;
}

const QUICK: Plan = {
  rounds: 5,
  budgetMs: 38_000,
  warmUpMs: 150,
  timing: { leadInMs: 20, sliceMs: 100 },
};
const DEFAULT: Plan = { rounds: 7, warmUpMs: 500, timing: { leadInMs: 30, sliceMs: 250 } };

/** Above this, over the last minute, others want a CPU often enough to disturb what is timed. */
const BUSY_LOAD_AVERAGE = 0.5;

const command = new Command("npm run bench --")
  .description(
    "Measure Sluice and its peers: server and client in processes of their own, scenarios interleaved.",
  )
  .option("--quick", "the scenarios and slices that take less than a minute")
  .option(
    "--only <id...>",
    "only scenarios whose id contains one of these, such as sluice/unix (see --list); none, with --idle-connections or --polling, for a word that no id has",
  )
  .option(
    "--rounds <n>",
    "how often to repeat each scenario; fewer with --quick on a slow machine",
    positiveInteger,
  )
  .option(
    "--idle-connections <n>",
    "then hold this many idle connections over unix, and a tenth of them over shm, and weigh them",
    positiveInteger,
  )
  .option("--polling", "then measure what polling before sleeping costs over shm, and what it brings")
  .option("--cpus <server,client>", "the CPUs to pin them to (default: the first two)", cpuPair)
  .option("--no-pin", "let the kernel choose the CPUs")
  .option("--json <file>", "write the result here")
  .option("--list", "print the scenarios' ids and do nothing else")
  .option("--profile <id>", "instead, print where the CPU time of one scenario goes")
  .option("--markdown <file>", "instead, print the tables of a result written by --json, in markdown")
  .showHelpAfterError("(--help lists the options)");

// Exit in order, so that what was put into the file system is removed.
process.once("SIGINT", () => process.exit(130));
process.once("SIGTERM", () => process.exit(143));

const progress = startProgress();
try {
  await main(command.parse().opts<Options>());
} catch (error) {
  progress.end();
  console.error(withCauses(error));
  process.exitCode = 1;
}

async function main(options: Options): Promise<void> {
  const show = (text: string) => progress.show(text);
  if (options.list) {
    console.log((options.quick ? quickScenarios() : allScenarios()).map(scenarioId).join("\n"));
  } else if (options.markdown !== undefined) {
    console.log(markdownReport(JSON.parse(readFileSync(options.markdown, "utf8")) as BenchResult));
  } else if (options.profile !== undefined) {
    const scenario = findScenario(allScenarios(), options.profile);
    const report = await profile(scenario, placementOf(options), show);
    progress.end();
    console.log(report);
  } else {
    // Better now than after minutes of measuring.
    if (options.json !== undefined) closeSync(openSync(options.json, "a"));
    const result = await run(options, show);
    progress.end();
    console.log(terminalReport(result, process.stdout.isTTY && process.stdout.hasColors()));
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
  }
}

async function run(options: Options, show: (text: string) => void): Promise<BenchResult> {
  const all = options.quick ? quickScenarios() : allScenarios();
  const scenarios = options.only === undefined ? all : selectScenarios(all, options.only);
  const { idleConnections } = options;
  if (scenarios.length === 0 && idleConnections === undefined && !options.polling) {
    throw new Error(`no scenario's id contains ${options.only!.join(" or ")}; --list prints the ids`);
  }
  const plan = options.quick ? QUICK : DEFAULT;
  const placement = placementOf(options);
  const machine = describeMachine();
  if (machine.loadAverage > BUSY_LOAD_AVERAGE) {
    console.error(
      `the machine is busy with something else (load average ${machine.loadAverage.toFixed(1)}): ` +
        "figures will be low and unsteady, and ratios wrong",
    );
  }
  const about = {
    date: new Date().toISOString(),
    command: process.argv.slice(2).join(" "),
    machine,
    placement: placement ?? null,
    versions: versions(await packagesOf(scenarios)),
  };
  const rounds = options.rounds ?? plan.rounds;
  const slices = await measure(scenarios, { ...plan, rounds, placement }, show);
  const idle: IdleResult[] = [];
  if (idleConnections !== undefined) {
    idle.push(await measureIdle("sluice", "unix", idleConnections, show));
    idle.push(await measureIdle("sluice", "shm", Math.ceil(idleConnections / 10), show));
  }
  const polling: PollingResult[] = [];
  for (const transport of options.polling ? ["shm", "shm-nopoll"] : []) {
    polling.push(await measurePolling(transport, placement, show));
  }
  return { ...about, ...makeRows(scenarios, slices), idle, polling };
}

async function packagesOf(scenarios: readonly Scenario[]): Promise<string[]> {
  const names = new Set(["sluice", ...scenarios.map(({ implementation }) => implementation)]);
  const implementations = await Promise.all([...names].map(loadImplementation));
  return implementations.flatMap(({ packageName }) => packageName ?? []);
}

function placementOf({ pin, cpus }: Options): Placement | undefined {
  return pin ? (cpus ?? defaultPlacement()) : undefined;
}

/** Without stacks: an error here is about what was asked for, and one from a measured process brings its stack along. */
function withCauses(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${withCauses(error.cause)}`;
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError("It must be a whole number above 0.");
  return value;
}

function cpuPair(text: string): Placement {
  const found = /^(\d+),(\d+)$/.exec(text);
  if (found === null) throw new InvalidArgumentError("It must be two numbers, such as 0,1.");
  return { serverCpu: Number(found[1]), clientCpu: Number(found[2]) };
}
