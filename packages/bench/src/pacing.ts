/** In the client's process: calls with pauses, and timers beside calls. */
import { setTimeout as sleep } from "node:timers/promises";
import type { BenchClient } from "./implementation.js";
import type { PacedRequest, TimerRequest } from "./polling.js";
import { percentile } from "./statistics.js";

export async function runPaced(
  client: BenchClient,
  { scenario, paced }: PacedRequest,
): Promise<{ p50Us: number; p99Us: number }> {
  const call = client.unary();
  const body = new Uint8Array(scenario.bytes);
  const latencies = new Float64Array(paced.calls);
  for (let made = 0; made < paced.calls; made++) {
    await sleep(paced.gapMs);
    const began = performance.now();
    await call(body);
    latencies[made] = performance.now() - began;
  }
  latencies.sort();
  return { p50Us: percentile(latencies, 0.5) * 1000, p99Us: percentile(latencies, 0.99) * 1000 };
}

/** How long each timer took, in milliseconds, in order of size. */
export async function runTimer(client: BenchClient, { scenario, timer }: TimerRequest): Promise<number[]> {
  const body = new Uint8Array(scenario.bytes);
  let running = true;
  const load = scenario.kind === "echo" ? [client.echo!(body, scenario.inFlight, () => running)] : calls();
  const took: number[] = [];
  for (let time = 0; time < timer.times; time++) {
    const began = performance.now();
    await sleep(timer.delayMs);
    took.push(performance.now() - began);
  }
  running = false;
  await Promise.all(load);
  return took.sort((a, b) => a - b);

  function calls(): Promise<void>[] {
    const call = client.unary();
    return Array.from({ length: scenario.inFlight }, async () => {
      while (running) await call(body);
    });
  }
}
