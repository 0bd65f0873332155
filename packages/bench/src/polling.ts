/** What polling before sleeping costs and brings: processor time of calls with pauses, and what else runs beside. */
import { setTimeout as sleep } from "node:timers/promises";
import { Endpoints } from "./endpoints.js";
import type { Timing } from "./load.js";
import type { Placement } from "./placement.js";
import { plain, type Scenario } from "./scenarios.js";
import { cpuMs } from "./usage.js";

/** Latencies of single calls with a pause before each, and the CPU time of both processes, in percent of one CPU. */
export interface PacedResult {
  readonly gapMs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly cpuPercent: number;
}

export interface PollingResult {
  readonly implementation: string;
  readonly transport: string;
  readonly paced: readonly PacedResult[];
  /** Of both processes while nothing happens. */
  readonly idleCpuPercent: number;
  /** p50 of one call at a time with both processes on one CPU. */
  readonly sameCpuP50Us: number;
  /** How late a timer of 10 ms fires in a client with 64 calls in flight: the median and the worst. */
  readonly timerP50Ms: number;
  readonly timerMaxMs: number;
}

/** What a client process is asked for, and what it answers. */
export interface PacedRequest {
  readonly scenario: Scenario;
  readonly paced: { readonly gapMs: number; readonly calls: number };
}
export interface TimerRequest {
  readonly scenario: Scenario;
  readonly timer: { readonly delayMs: number; readonly times: number };
}

const TIMEOUT_MS = 60_000;
const GAPS_MS = [1, 10];
const PACED_MS = 3000;
/** Long enough for compilers and collectors to have finished what the load gave them to do. */
const SETTLE_MS = 2000;
const IDLE_MS = 3000;
const TIMER = { delayMs: 10, times: 200 };
const SAME_CPU: Timing = { leadInMs: 500, sliceMs: 1000 };

/** Where it is measured: with polling and without, and what has neither calls nor polling to pay for. */
export const POLLING = [
  ["sluice", "shm", "unary"],
  ["sluice", "shm-nopoll", "unary"],
  ["sluice", "unix", "unary"],
  ["sluice", "unix-nopoll", "unary"],
  ["node:net", "unix", "echo"],
] as const;

export async function measurePolling(
  [implementation, transport, kind]: (typeof POLLING)[number],
  placement: Placement | undefined,
  show: (text: string) => void,
): Promise<PollingResult> {
  const progress = (text: string) => show(`${implementation} on ${transport}: ${text}`);
  const scenario: Scenario = { implementation, transport, kind, bytes: 64, inFlight: 1 };
  const busy = { ...plain(scenario), inFlight: 64 };
  const endpoints = await Endpoints.open(implementation, transport, { placement });
  try {
    const client = await endpoints.addClient(transport, 1, { placement });
    const server = endpoints.server!;
    const cpu = async <T>(work: () => Promise<T>): Promise<{ percent: number; value: T }> => {
      const used = cpuMs(server.pid) + cpuMs(client.pid);
      const began = performance.now();
      const value = await work();
      const percent = ((cpuMs(server.pid) + cpuMs(client.pid) - used) / (performance.now() - began)) * 100;
      return { percent, value };
    };
    const paced: PacedResult[] = [];
    for (const gapMs of GAPS_MS) {
      progress(`a call every ${gapMs} ms`);
      const ask = (calls: number) =>
        client.ask<Omit<PacedResult, "gapMs" | "cpuPercent">>(
          { scenario, paced: { gapMs, calls } } satisfies PacedRequest,
          TIMEOUT_MS,
        );
      await ask(PACED_MS / gapMs / 2);
      const { percent, value } = await cpu(() => ask(PACED_MS / gapMs));
      paced.push({ gapMs, ...value, cpuPercent: percent });
    }
    progress("a timer beside 64 calls in flight");
    const lateness = await client.ask<number[]>(
      { scenario: busy, timer: TIMER } satisfies TimerRequest,
      TIMEOUT_MS,
    );
    progress("idle");
    await sleep(SETTLE_MS);
    const idle = await cpu(() => sleep(IDLE_MS));
    return {
      implementation,
      transport,
      paced,
      idleCpuPercent: idle.percent,
      sameCpuP50Us: await sameCpu(scenario, placement, progress),
      timerP50Ms: lateness[lateness.length >> 1],
      timerMaxMs: lateness[lateness.length - 1],
    };
  } finally {
    await endpoints.close();
  }
}

async function sameCpu(
  scenario: Scenario,
  placement: Placement | undefined,
  progress: (text: string) => void,
): Promise<number> {
  progress("both processes on one CPU");
  const cpu = placement?.serverCpu ?? 0;
  const stacked = { placement: { serverCpu: cpu, clientCpu: cpu } };
  const endpoints = await Endpoints.open(scenario.implementation, scenario.transport, stacked);
  try {
    await endpoints.addClient(scenario.transport, 1, stacked);
    return (await endpoints.measure(scenario, SAME_CPU)).p50Us;
  } finally {
    await endpoints.close();
  }
}
