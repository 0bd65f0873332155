import { cpus, loadavg, release, totalmem, type } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { findPackage, readManifest } from "./size.js";

export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Runnable processes over the last minute, before the run: what else the machine was doing. */
  readonly loadAverage: number;
}

export function describeMachine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? "unknown",
    cpus: processors.length,
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    loadAverage: loadavg()[0],
  };
}

/** The version of Node, and of each of `packages` that is installed, by its name. */
export function versions(packages: readonly string[]): Record<string, string> {
  const installed = packages.flatMap((name) => {
    const version = installedVersion(name);
    return version === undefined ? [] : [[name, version] as const];
  });
  // What this process was started with goes to those that are measured.
  const node = [process.versions.node, ...process.execArgv].join(" ");
  return { node, ...Object.fromEntries(installed) };
}

/** Read from its package.json, which a package need not export. */
function installedVersion(name: string): string | undefined {
  const directory = findPackage(name, dirname(fileURLToPath(import.meta.url)));
  return directory === undefined ? undefined : readManifest<{ version: string }>(directory).version;
}
