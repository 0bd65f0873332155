import { spawn } from "node:child_process";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** buf's command, which finds the binary of this platform among its own dependencies. */
const command = require.resolve("@bufbuild/buf/bin/buf");

/** ts-proto's plugin as buf starts it: by this Node, wherever npm put either. */
export const plugin = [process.execPath, require.resolve("ts-proto/protoc-gen-ts_proto")];

export const pluginVersion = (require("ts-proto/package.json") as { version: string }).version;

/** How a run of buf ended. */
export interface BufResult {
  readonly exitCode: number;
  /** What it printed to standard error; empty when that was inherited. */
  readonly stderr: string;
}

/** Run buf in `cwd`, printing to this process's own output, or keeping what it prints to standard error. */
export function buf(
  args: readonly string[],
  { cwd, keepErrors = false, env = {} }: { cwd?: string; keepErrors?: boolean; env?: NodeJS.ProcessEnv } = {},
): Promise<BufResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [command, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["inherit", "inherit", keepErrors ? "pipe" : "inherit"],
    });
    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code) => resolve({ exitCode: code ?? 1, stderr }));
  });
}
