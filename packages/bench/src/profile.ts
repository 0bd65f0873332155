/**
 * Where the CPU time of one scenario's calls goes, by V8's profiler and the kernel's accounts, in client and server; and what
 * they allocate.
 */
import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allocationReport } from "./allocation.js";
import { add, describe, sorted, table, type CallFrame } from "./call-frames.js";
import { Endpoints } from "./endpoints.js";
import type { Placement } from "./placement.js";
import { scenarioId, type Scenario } from "./scenarios.js";
import { cpuMs } from "./usage.js";

const WARM_UP_MS = 1000;
const PROFILED_MS = 4000;
const SAMPLE_INTERVAL_US = 200;
const SHOWN = 30;

/** The parts of a .cpuprofile that are used here: https://chromedevtools.github.io/devtools-protocol/tot/Profiler/ */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
  /** In microseconds of the clock that `process.hrtime` shows. */
  readonly startTime: number;
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: CallFrame;
  readonly children?: readonly number[];
}

/** A stretch of time, in microseconds of the clock that `process.hrtime` shows. */
export interface Span {
  readonly fromUs: number;
  readonly toUs: number;
}

/** Microseconds of samples, by part of a call and by function. */
export interface TimeSpent {
  readonly parts: ReadonlyMap<string, number>;
  readonly functions: ReadonlyMap<string, number>;
  /** Of all samples but those in which the process waited. */
  readonly busyUs: number;
}

/** Run `scenario` under the profilers; returns tables of where its time and memory went, and where the profiles are. */
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
  const used = new Map<number, number>();
  let clientPid: number;
  let calls: number;
  let span: Span;
  try {
    const client = await endpoints.addClient(scenario.transport, scenario.connections, options);
    clientPid = client.pid;
    const pids = [client, endpoints.server].flatMap((process) => process?.pid ?? []);
    progress(`warming up ${scenarioId(scenario)}`);
    await endpoints.measure(scenario, { leadInMs: 0, sliceMs: WARM_UP_MS });
    progress(`profiling ${scenarioId(scenario)} for ${PROFILED_MS / 1000} s`);
    const before = pids.map(cpuMs);
    const fromUs = nowUs();
    ({ calls } = await endpoints.measure(scenario, { leadInMs: 0, sliceMs: PROFILED_MS }));
    span = { fromUs, toUs: nowUs() };
    for (const [index, pid] of pids.entries()) used.set(pid, cpuMs(pid) - before[index]);
  } finally {
    progress("ending the processes");
    await endpoints.close();
  }
  const reports: string[] = [];
  for (const file of await readdir(directory)) {
    // CPU.<date>.<time>.<pid>.<thread>.<sequence>.cpuprofile
    const pid = Number(file.split(".")[3]);
    const path = join(directory, file);
    const spent = timeSpent(JSON.parse(await readFile(path, "utf8")) as CpuProfile, span);
    const role = pid === clientPid ? "client" : "server";
    reports.push(`${role} (${path})\n${report(spent, calls, used.get(pid))}`);
  }
  return [...reports, await allocationReport(scenario, placement, progress)].join("\n");
}

/** What the samples within `span` were in. */
export function timeSpent({ nodes, samples, timeDeltas, startTime }: CpuProfile, span: Span): TimeSpent {
  const partOf = partsById(nodes);
  const names = new Map(nodes.map(({ id, callFrame }) => [id, describe(callFrame)]));
  const parts = new Map<string, number>();
  const functions = new Map<string, number>();
  let busyUs = 0;
  let now = startTime;
  for (const [index, id] of samples.entries()) {
    now += timeDeltas[index];
    // The first delta leads from the profile's start to the first sample; each sample lasts until the next.
    const duration = timeDeltas[index + 1] ?? 0;
    const name = names.get(id)!;
    if (duration === 0 || now < span.fromUs || now >= span.toUs || name === "(idle)") continue;
    busyUs += duration;
    add(parts, partOf.get(id)!, duration);
    add(functions, name, duration);
  }
  return { parts, functions, busyUs };
}

/** The first that fits a function's name and place. What fits none, such as V8's builtins, is part of who calls it. */
const PARTS: readonly (readonly [part: string, name: RegExp, path: RegExp])[] = [
  ["garbage collection", /^\(garbage collector\)$/, /^$/],
  ["V8 and native code", /^\(program\)$/, /^$/],
  ["promises", /^runMicrotasks$/, /^$/],
  ["promises", /./, /^node:internal\/process\/(task_queues|promises)$/],
  ["Node", /./, /^node:/],
  ["encoding", /./, /\/core\/dist\/protobuf\/writer\.js$/],
  ["encoding", /^encode$/, /\/gen\//],
  ["decoding", /./, /\/core\/dist\/protobuf\/(reader|base)\.js$/],
  ["decoding", /^(decode|createBase.*)$/, /\/gen\//],
  ["session", /./, /\/core\/dist\/(session|stream|wire|message-pump|message-queue)\.js$/],
  ["calls", /./, /\/core\/dist\/(?!protobuf\/)/],
  ["transport", /./, /\/(packages\/transports|native)\//],
  ["load and handlers", /./, /\/packages\/bench\//],
];

function partsById(nodes: readonly ProfileNode[]): Map<number, string> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parts = new Map<number, string>();
  const visit = ({ id, callFrame, children = [] }: ProfileNode, callers: string): void => {
    const { functionName, url } = callFrame;
    const found = PARTS.find(([, name, path]) => name.test(functionName || "(anonymous)") && path.test(url));
    const part = found?.[0] ?? /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? callers;
    parts.set(id, part);
    for (const child of children) visit(byId.get(child)!, part);
  };
  visit(nodes[0], "V8 and native code");
  return parts;
}

/** `cpuMs`: what the kernel says that the process used in the same span; undefined where the process is not known. */
function report({ parts, functions, busyUs }: TimeSpent, calls: number, cpuMs = 0): string {
  const totalUs = Math.max(cpuMs * 1000, busyUs);
  const all = [...parts];
  // Going to sleep, waking, and what the event loop reads and writes by itself: V8 takes that for idle, the kernel does not.
  if (totalUs > busyUs) all.push(["kernel and event loop", totalUs - busyUs]);
  const perCall = (us: number) => (us / calls).toFixed(3);
  const percent = (us: number) => ((us / totalUs) * 100).toFixed(1);
  return [
    `${calls} calls (of streams: messages), ${perCall(totalUs)} us of CPU time each`,
    table(["us a call", "%", "part"], sorted(all), (us) => [perCall(us), percent(us)]),
    table(["self ms", "%", "function"], sorted([...functions]).slice(0, SHOWN), (us) => [
      (us / 1000).toFixed(0),
      percent(us),
    ]),
    "",
  ].join("\n");
}

/** CLOCK_MONOTONIC, which all processes and V8's profiles share. */
function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
