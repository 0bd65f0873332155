/** `npm run bench -- OPTIONS`: see `--help`. */
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { measureAllocation } from "./allocation.js";
import { compare } from "./compare.js";
import { withCauses } from "./errors.js";
import { measureHeld } from "./held.js";
import { htmlReport } from "./html-report.js";
import { measureIdle } from "./idle.js";
import { findImplementation, implementations } from "./implementations/index.js";
import { describeMachine, versions } from "./machine.js";
import { allowedCpus, defaultPlacement, type Placement } from "./placement.js";
import { measurePolling, POLLING } from "./polling.js";
import { profile } from "./profile.js";
import { startProgress } from "./progress.js";
import { publish } from "./documents.js";
import {
  comparisonReport,
  markdownReport,
  markdownTables,
  terminalReport,
  terminalTables,
  type Section,
} from "./report.js";
import { makeRows, RESULT_FIELDS, type BenchResult } from "./result.js";
import { measure, type Plan } from "./runner.js";
import {
  ALLOCATING,
  allScenarios,
  defaultScenarios,
  findScenario,
  HELD,
  quickScenarios,
  scenarioId,
  selectScenarios,
  STARTED,
  type Scenario,
} from "./scenarios.js";
import { installedSize, type SizeResult } from "./size.js";
import { measureEach } from "./skipping.js";
import { measureStartUp } from "./start-up.js";

interface Options {
  quick?: boolean;
  full?: boolean;
  only?: string[];
  rounds?: number;
  idleConnections?: number;
  polling?: boolean;
  resources?: boolean;
  cpus?: Placement;
  pin: boolean;
  from?: string;
  json?: string;
  html?: string;
  markdown?: boolean;
  publish?: boolean;
  compare?: string;
  list?: boolean;
  profile?: string;
}

/** Much in little time: few processes, as many rounds as --compare needs, of slices that are as long as this leaves them. */
const QUICK: Plan = {
  rounds: 3,
  shared: true,
  budgetMs: 49_000,
  warmUp: { firstMs: 800, otherMs: 130 },
  timing: { leadInMs: 12, sliceMs: 65 },
};
/** The budget leaves time for what is measured after the scenarios: ten minutes in all. */
const DEFAULT: Plan = {
  rounds: 5,
  budgetMs: 440_000,
  warmUp: { firstMs: 700, otherMs: 80 },
  timing: { leadInMs: 20, sliceMs: 120 },
  waking: { stepMs: 150, mostMs: 1500 },
};
const FULL: Plan = {
  rounds: 9,
  warmUp: { firstMs: 1500, otherMs: 400 },
  timing: { leadInMs: 30, sliceMs: 400 },
  waking: { stepMs: 200, mostMs: 3000 },
};

/** Held over unix, and a tenth of them over shm, in runs of everything. */
const IDLE_CONNECTIONS = 1000;
/** Above this, over the last minute, others want a CPU often enough to disturb what is timed. */
const BUSY_LOAD_AVERAGE = 0.5;

/** Options that have nothing to do where there is no result. */
const WHAT_A_RESULT_IS_FOR = ["json", "html", "from", "compare", "publish"];

const command = new Command("npm run bench --")
  .description(
    "Measure Sluice and its peers: server and client in processes of their own, scenarios interleaved.",
  )
  .addOption(new Option("--quick", "what can be measured in less than a minute").conflicts("full"))
  .option(
    "--full",
    "every size with every number of calls in flight, in more and longer slices: about an hour",
  )
  .option(
    "--only <id...>",
    "only scenarios whose id contains one of these, such as sluice/unix (see --list); none, with --idle-connections, --polling or --resources, for a word that no id has",
  )
  .option(
    "--rounds <n>",
    "how often to repeat each scenario, however long it takes; fewer with --quick on a slow machine",
    positiveInteger,
  )
  .option(
    "--idle-connections <n>",
    "then hold this many idle connections over unix, and a tenth of them over shm, and weigh them",
    positiveInteger,
  )
  .option(
    "--polling",
    "then measure what polling before sleeping costs over shm and unix, and what it brings",
  )
  .option(
    "--resources",
    "then weigh calls in flight, what calls allocate and installed packages, and time processes from their start to the first answer",
  )
  .option("--cpus <server,client>", "the CPUs to pin them to (default: the first two)", cpuPair)
  .addOption(new Option("--no-pin", "let the kernel choose the CPUs").conflicts("cpus"))
  .option("--json <file>", "write the result here")
  .option("--html <file>", "write a page with charts and tables here")
  .option("--compare <file>", "say what changed beyond noise since an older result, written by --json")
  .option("--markdown", "print the tables in markdown")
  .option(
    "--publish",
    "make the result the one that this repository's documents show: write their tables and docs/figures/default.json",
  )
  .addOption(
    new Option("--from <file>", "instead of measuring, take a result written by --json").conflicts([
      ...["quick", "full", "only", "rounds", "cpus", "pin"],
      ...["idleConnections", "polling", "resources"],
    ]),
  )
  .addOption(
    new Option("--list", "print the scenarios' ids and do nothing else").conflicts([
      ...WHAT_A_RESULT_IS_FOR,
      "profile",
    ]),
  )
  .addOption(
    new Option(
      "--profile <id>",
      "instead, print where the CPU time and the memory of one scenario go, by V8's profilers",
    ).conflicts(WHAT_A_RESULT_IS_FOR),
  )
  .showHelpAfterError("(--help lists the options)");

// Exit in order, so that what was put into the file system is removed.
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
  process.once(signal, () => process.exit(code));
}

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
    console.log(scenariosOf(options).map(scenarioId).join("\n"));
  } else if (options.profile !== undefined) {
    const scenario = findScenario(allScenarios(), options.profile);
    const report = await profile(scenario, scenario.unpinned ? undefined : placementOf(options), show);
    progress.end();
    console.log(report);
  } else {
    // Better now than after minutes of measuring.
    if (options.json !== undefined && options.html !== undefined) {
      const [json, html] = [resolve(options.json), resolve(options.html)];
      if (json === html) throw new Error(`--json and --html are both to write ${json}: name two files`);
    }
    const older = options.compare === undefined ? undefined : readResult(options.compare);
    for (const path of [options.json, options.html]) {
      if (path !== undefined) closeSync(openSync(path, "a"));
    }
    const result = options.from === undefined ? await run(options, show) : readResult(options.from);
    progress.end();
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
    if (options.html !== undefined) writeFileSync(options.html, htmlReport(result));
    if (options.publish) publish(result);
    const colour = process.stdout.isTTY && process.stdout.hasColors();
    console.log(options.markdown ? markdownReport(result) : terminalReport(result, colour));
    if (older !== undefined) {
      const print = options.markdown
        ? markdownTables
        : (tables: readonly Section[]) => terminalTables(tables, colour);
      console.log(comparisonReport(compare(older, result), print));
    }
  }
}

function readResult(path: string): BenchResult {
  let result: Partial<BenchResult>;
  try {
    result = JSON.parse(readFileSync(path, "utf8")) as Partial<BenchResult>;
  } catch (error) {
    throw new Error(`${path} is not a result written by --json`, { cause: error });
  }
  if (typeof result !== "object" || result === null)
    throw new Error(`${path} is not a result written by --json`);
  const missing = RESULT_FIELDS.filter((field) => result[field] === undefined);
  if (missing.length === 0) return result as BenchResult;
  throw new Error(`${path} was not written by this version's --json: it has no ${missing.join(", ")}`);
}

async function run(options: Options, show: (text: string) => void): Promise<BenchResult> {
  const wanted = scenariosOf(options);
  const whole = !options.quick && options.only === undefined;
  const {
    idleConnections = whole ? IDLE_CONNECTIONS : undefined,
    polling = whole,
    resources = whole,
  } = options;
  if (wanted.length === 0 && idleConnections === undefined && !polling && !resources) {
    throw new Error(`no scenario's id contains ${options.only!.join(" or ")}; --list prints the ids`);
  }
  const plan = planOf(options);
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
    versions: versions(packagesOf(resources ? Object.keys(implementations) : namesOf(wanted))),
  };
  const measured = await measure(wanted, { ...plan, placement }, show);
  const skipped = [...measured.skipped];
  return {
    ...about,
    ...makeRows(measured.scenarios, measured.slices),
    skipped,
    idle: await measureEach(
      idleConnections === undefined ? [] : idleSubjects(idleConnections),
      ([implementation, transport, connections]) => measureIdle(implementation, transport, connections, show),
      skipped,
    ),
    polling: await measureEach(
      polling ? POLLING : [],
      (subject) => measurePolling(subject, placement, show),
      skipped,
    ),
    held: await measureEach(
      resources ? HELD : [],
      ([implementation, transport]) => measureHeld(implementation, transport, show),
      skipped,
    ),
    allocation: await measureEach(
      resources ? ALLOCATING : [],
      ([implementation, transport]) => measureAllocation(implementation, transport, placement, show),
      skipped,
    ),
    startUp: resources ? await measureStartUp(STARTED, placement, skipped, show) : [],
    sizes: resources ? measureSizes(Object.keys(implementations)) : [],
  };
}

function idleSubjects(connections: number) {
  return [
    ["sluice", "unix", connections],
    ["sluice", "shm", Math.ceil(connections / 10)],
  ] as const;
}

/** As many rounds as are asked for take as long as they take, but what is quick stays so. */
function planOf({ quick, full, rounds }: Options): Plan {
  const plan = quick ? QUICK : full ? FULL : DEFAULT;
  if (rounds === undefined) return plan;
  return quick ? { ...plan, rounds } : { ...plan, rounds, budgetMs: Infinity };
}

function scenariosOf(options: Options): Scenario[] {
  const { quick, full, only } = options;
  const scenarios = quick ? quickScenarios() : full ? allScenarios() : defaultScenarios();
  // Where nothing is pinned, what is not would be compared with itself.
  const pinned = placementOf(options) !== undefined;
  const all = scenarios.filter(({ unpinned }) => pinned || !unpinned);
  return only === undefined ? all : selectScenarios(all, only);
}

function namesOf(scenarios: readonly Scenario[]): string[] {
  return [...new Set(["sluice", ...scenarios.map(({ implementation }) => implementation)])];
}

function packagesOf(names: readonly string[]): string[] {
  return names.flatMap((name) => findImplementation(name).packageName ?? []);
}

/** Of those whose package is installed. */
function measureSizes(names: readonly string[]): SizeResult[] {
  return names.flatMap((implementation) => {
    const { packageName } = findImplementation(implementation);
    const size = packageName === undefined ? undefined : installedSize(packageName);
    return packageName === undefined || size === undefined ? [] : [{ implementation, packageName, ...size }];
  });
}

function placementOf({ pin, cpus }: Options): Placement | undefined {
  return pin ? (cpus ?? defaultPlacement()) : undefined;
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
  const [serverCpu, clientCpu] = found.slice(1).map(Number);
  const allowed = allowedCpus();
  if (!allowed.includes(serverCpu) || !allowed.includes(clientCpu))
    throw new InvalidArgumentError(`This process may use: ${allowed.join(", ")}.`);
  return { serverCpu, clientCpu };
}
