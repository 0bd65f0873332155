import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root. */
export const repository = fileURLToPath(new URL("../../..", import.meta.url));

const RUN_TIMEOUT_MS = 120_000;

const TSCONFIG = {
  compilerOptions: {
    target: "es2023",
    module: "nodenext",
    strict: true,
    exactOptionalPropertyTypes: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
    types: ["node"],
  },
};

/**
 * A folder in which the repository's packages are installed: a project of ES modules, as the quick start makes one, or
 * (`empty`) none yet, which has no package.json.
 */
export class Sandbox {
  readonly path = mkdtempSync(join(tmpdir(), "sluice-docs-"));

  constructor({ empty }: { readonly empty: boolean }) {
    if (!empty) this.write("package.json", JSON.stringify({ private: true, type: "module" }));
    this.write("tsconfig.json", JSON.stringify(TSCONFIG));
    symlinkSync(join(repository, "node_modules"), join(this.path, "node_modules"));
    // What would change the installation, or run these tests from within, is not run: see npm.ts.
    this.write(
      "bin/npm",
      `#!/bin/sh\nexec node "${fileURLToPath(new URL("npm.js", import.meta.url))}" "${repository}" "$@"\n`,
    );
    chmodSync(join(this.path, "bin/npm"), 0o755);
  }

  write(name: string, text: string): void {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  /**
   * Run a shell script and resolve to its standard output. What it leaves running is ended. Rejects, with all that it
   * printed, when a command in it fails.
   */
  run(script: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const shell = spawn("bash", ["-euo", "pipefail", "-c", script], {
        cwd: this.path,
        env: {
          ...process.env,
          npm_config_offline: "true",
          PATH: `${join(this.path, "bin")}${delimiter}${process.env["PATH"]}`,
        },
        stdio: ["ignore", "pipe", "pipe"],
        detached: true, // a process group of its own, so that all of it can be ended
      });
      let output = "";
      let errors = "";
      shell.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
      shell.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
      const timer = setTimeout(() => {
        errors += `\nnot done after ${RUN_TIMEOUT_MS / 1000} s`;
        endGroup(shell.pid!);
      }, RUN_TIMEOUT_MS);
      shell.on("error", reject);
      shell.on("exit", () => endGroup(shell.pid!));
      shell.on("close", (code, signal) => {
        clearTimeout(timer);
        if (code === 0) resolve(output);
        else reject(new Error(`${script}${signal ?? `exit ${code}`}\n${output}${errors}`));
      });
    });
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}

function endGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // nobody is left in it
  }
}
