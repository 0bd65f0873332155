/** Where the CPU time of one scenario goes, by V8's own profiler, in the client's process and in the server's. */
import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { Endpoints } from "./endpoints.js";
import type { Placement } from "./placement.js";
import { scenarioId, type Scenario } from "./scenarios.js";

const PROFILED_MS = 4000;
const SAMPLE_INTERVAL_US = 200;
const SHOWN = 30;

/** The parts of a .cpuprofile that are used here: https://chromedevtools.github.io/devtools-protocol/tot/Profiler/ */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Run `scenario` under the profiler; returns tables of the functions with most self time, and where the profiles are. */
export async function profile(
  scenario: Scenario,
  placement: Placement | undefined,
  progress: (text: string) => void,
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "sluice-profile-"));
  const options = {
    placement,
    nodeOptions: ["--cpu-prof", `--cpu-prof-dir=${directory}`, `--cpu-prof-interval=${SAMPLE_INTERVAL_US}`],
  };
  progress(`starting ${scenario.implementation} on ${scenario.transport}`);
  const endpoints = await Endpoints.open(scenario.implementation, scenario.transport, options);
  let clientPid: number;
  try {
    clientPid = (await endpoints.addClient(1, options)).pid;
    progress(`profiling ${scenarioId(scenario)} for ${PROFILED_MS / 1000} s`);
    await endpoints.measure(scenario, { leadInMs: 0, sliceMs: PROFILED_MS });
  } finally {
    progress("ending the processes");
    await endpoints.close();
  }
  const parts: string[] = [];
  for (const file of await readdir(directory)) {
    // CPU.<date>.<time>.<pid>.<thread>.<sequence>.cpuprofile
    const role = file.split(".")[3] === String(clientPid) ? "client" : "server";
    const recorded = JSON.parse(await readFile(join(directory, file), "utf8")) as CpuProfile;
    parts.push(`${role} (${join(directory, file)})\n${table(recorded)}\n`);
  }
  return parts.join("\n");
}

function table({ nodes, samples, timeDeltas }: CpuProfile): string {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, describe(callFrame)]));
  const selfUs = new Map<string, number>();
  let idleUs = 0;
  let busyUs = 0;
  for (const [index, id] of samples.entries()) {
    const name = names.get(id)!;
    // The first delta leads from the profile's start to the first sample; each sample lasts until the next.
    const duration = timeDeltas[index + 1] ?? 0;
    if (name === "(idle)") {
      idleUs += duration;
    } else {
      busyUs += duration;
      selfUs.set(name, (selfUs.get(name) ?? 0) + duration);
    }
  }
  const rows = new Table({
    head: ["self ms", "% of busy", "function"],
    colAligns: ["right", "right", "left"],
    style: { head: [], border: [], compact: true },
  });
  const most = [...selfUs].sort(([, a], [, b]) => b - a).slice(0, SHOWN);
  for (const [name, us] of most) {
    rows.push([(us / 1000).toFixed(0), ((us / busyUs) * 100).toFixed(1), name]);
  }
  const share = ((busyUs / (busyUs + idleUs)) * 100).toFixed(0);
  return `busy ${(busyUs / 1000).toFixed(0)} ms, ${share} % of the time, start-up included\n${rows.toString()}`;
}

function describe({ functionName, url, lineNumber }: CpuProfile["nodes"][number]["callFrame"]): string {
  const name = functionName || "(anonymous)";
  if (url === "") return name;
  const path = url.startsWith("file://") ? fileURLToPath(url) : url;
  return `${name}  ${path.split("/").slice(-4).join("/")}:${lineNumber + 1}`;
}
