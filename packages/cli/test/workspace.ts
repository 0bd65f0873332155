import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

/** This test's own `.proto` files. */
export const PROTO = join(here, "../proto");

const command = join(here, "../../bin/sluice.js");

export interface Run {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A temporary directory with files, in which to run the command. */
export class Workspace {
  // Beside this file, so that generated code finds @sluice/core.
  readonly directory = mkdtempSync(join(here, "workspace-"));

  /** What the command's environment has besides this process's own. */
  environment: NodeJS.ProcessEnv = {};

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  write(path: string, content: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true });
    writeFileSync(this.path(path), content);
  }

  read(path: string): string {
    return readFileSync(this.path(path), "utf8");
  }

  /** All files below `path`, relative to it, with `/`. */
  files(path: string): string[] {
    return readdirSync(this.path(path), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(this.path(path), join(entry.parentPath ?? entry.path, entry.name)))
      .map((file) => file.replaceAll("\\", "/"))
      .sort();
  }

  /** Run `sluice` here. */
  sluice(...args: string[]): Promise<Run> {
    return new Promise((resolve, reject) => {
      const env = { ...process.env, ...this.environment };
      const child = spawn(process.execPath, [command, ...args], { cwd: this.directory, stdio: "pipe", env });
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
      child.on("error", reject);
      child.on("close", (exitCode) => resolve({ exitCode, stdout, stderr }));
    });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
