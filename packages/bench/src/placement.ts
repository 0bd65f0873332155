/**
 * Which CPU a process runs on. Left to the kernel, a pair of processes is now on one CPU, where a wake-up costs about 2 us
 * and the two take turns, now on two, where it costs 20 us or more: figures for one call in flight then differ several
 * times over from one slice to the next. So servers are pinned to one CPU and clients to another, unless asked otherwise.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { isMainThread } from "node:worker_threads";

export interface Placement {
  readonly serverCpu: number;
  readonly clientCpu: number;
}

/** The environment reaches the servers that a client starts, too. */
const VARIABLES = { server: "SLUICE_BENCH_SERVER_CPU", client: "SLUICE_BENCH_CLIENT_CPU" };

/** Those that this process may use, in ascending order. */
export function allowedCpus(): number[] {
  const status = readFileSync("/proc/self/status", "utf8");
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(status)![1];
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** The first two CPUs that this process may use; none if it has but one. */
export function defaultPlacement(): Placement | undefined {
  const [serverCpu, clientCpu] = allowedCpus();
  return clientCpu === undefined ? undefined : { serverCpu, clientCpu };
}

export function environment(placement: Placement | undefined): Record<string, string> {
  if (placement === undefined) return {};
  return {
    [VARIABLES.server]: String(placement.serverCpu),
    [VARIABLES.client]: String(placement.clientCpu),
  };
}

/** The CPU that this process's environment gives to servers or clients, if it does. */
export function cpuOf(role: keyof typeof VARIABLES): string | undefined {
  return process.env[VARIABLES[role]];
}

/** Move this process, all its threads, to where its environment says; in a worker, its own thread alone. */
export function takePlace(role: keyof typeof VARIABLES): void {
  const cpu = cpuOf(role);
  if (cpu === undefined) return;
  // Node does not tell a thread's id; the kernel does, to the thread itself: proc(5).
  const [scope, id] = isMainThread
    ? [["--all-tasks"], String(process.pid)]
    : [[], basename(readlinkSync("/proc/thread-self"))];
  execFileSync("taskset", [...scope, "--cpu-list", "--pid", cpu, id], { stdio: "pipe" });
}
