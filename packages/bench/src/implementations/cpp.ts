/**
 * What the mechanisms can do without Node, of native/bench: a C++ program that echoes between two processes of its own. It
 * times itself, so there is nothing to load.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { BenchClient, Implementation } from "../implementation.js";
import { cpuOf } from "../placement.js";
import type { Slice } from "../statistics.js";

interface Limits {
  buildLimits(): string;
}

export const cpp: Implementation = {
  async serve() {
    throw new Error("the C++ program brings its own server");
  },

  async connect(transport): Promise<BenchClient> {
    const source = new URL("../../../../native/bench/limits.mjs", import.meta.url).href;
    const program = ((await import(source)) as Limits).buildLimits();
    const cpus = (["server", "client"] as const).flatMap((role) => {
      const cpu = cpuOf(role);
      return cpu === undefined ? [] : [`--${role}-cpu`, cpu];
    });
    return {
      async timeSlice({ bytes, inFlight }, { sliceMs }) {
        const size = ["--bytes", String(bytes), "--in-flight", String(inFlight)];
        const args = ["--transport", transport, ...size, "--seconds", String(sliceMs / 1000), ...cpus];
        const { stdout } = await promisify(execFile)(program, args);
        const { calls, callsPerSecond, p50Us, p90Us, p99Us, p999Us } = JSON.parse(stdout) as Slice;
        return { calls, callsPerSecond, p50Us, p90Us, p99Us, p999Us };
      },
      /** It has compared what it echoed by itself. */
      unary: () => async (body) => ({ body }),
      async close() {},
    };
  },
};
