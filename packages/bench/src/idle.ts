/** What idle connections cost their server: memory and CPU time, as the kernel counts them. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { BenchProcess, StartOptions } from "./bench-process.js";
import { Endpoints } from "./endpoints.js";
import type { Scenario } from "./scenarios.js";
import { cpuMs, pssBytes } from "./usage.js";

export interface IdleResult {
  readonly implementation: string;
  readonly transport: string;
  readonly connections: number;
  /** The server's proportional set size with one connection of each client, and with all of them. */
  readonly emptyPssBytes: number;
  readonly pssBytes: number;
  /** By how much the clients' grew from the one to the other, all together. */
  readonly clientsPssBytes: number;
  /** CPU time that the server spent while all were idle, and for how long that was watched. */
  readonly cpuMs: number;
  readonly watchedMs: number;
}

const CLIENT_PROCESSES = 4;
/** For what a process has open beside its connections. */
const OTHER_FILES = 256;
const SETTLE_MS = 2000;
const WATCHED_MS = 5000;

/** Open `connections` to one server, use each once, leave them alone, watch the server, then use each again. */
export async function measureIdle(
  implementation: string,
  transport: string,
  connections: number,
  progress: (text: string) => void,
): Promise<IdleResult> {
  const call: Scenario = { implementation, transport, kind: "unary", bytes: 64, inFlight: 1 };
  progress(`starting ${implementation} on ${transport}`);
  const endpoints = await Endpoints.open(implementation, transport, openFiles(connections));
  try {
    const { server } = endpoints;
    if (server === undefined) throw new Error(`${transport} has one connection by nature`);
    const clients: BenchProcess[] = [];
    for (let client = 0; client < CLIENT_PROCESSES; client++) {
      clients.push(await endpoints.addClient(transport, 1, openFiles(connections / CLIENT_PROCESSES)));
    }
    await endpoints.verify(call);
    const clientsPss = () => clients.reduce((sum, { pid }) => sum + pssBytes(pid), 0);
    const emptyPssBytes = pssBytes(server.pid);
    const emptyClientsPssBytes = clientsPss();
    for (const [index, client] of clients.entries()) {
      const share = Math.floor((connections + index) / CLIENT_PROCESSES) - 1;
      progress(`opening ${share} connections, process ${index + 1} of ${CLIENT_PROCESSES}`);
      await endpoints.connect(client, transport, share);
    }
    progress("using each connection once");
    await endpoints.verify(call);
    await sleep(SETTLE_MS);
    progress(`watching ${connections} idle connections for ${WATCHED_MS / 1000} s`);
    const cpuBefore = cpuMs(server.pid);
    const began = performance.now();
    await sleep(WATCHED_MS);
    const watched = {
      cpuMs: cpuMs(server.pid) - cpuBefore,
      watchedMs: performance.now() - began,
      pssBytes: pssBytes(server.pid),
      clientsPssBytes: clientsPss() - emptyClientsPssBytes,
    };
    progress("using each connection again");
    await endpoints.verify(call);
    return { implementation, transport, connections, emptyPssBytes, ...watched };
  } finally {
    progress("ending the processes");
    await endpoints.close();
  }
}

/** How to start a process that can open `connections` descriptors. Node raises its own soft limit to the hard one. */
function openFiles(connections: number): StartOptions {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)![1];
  const needed = Math.ceil(connections) + OTHER_FILES;
  if (hard === "unlimited" || Number(hard) >= needed) return {};
  if (process.getuid!() !== 0) {
    throw new Error(
      `${connections} connections need ${needed} open files, and the hard limit is ${hard}: ` +
        `raise it as root, with prlimit --pid $$ --nofile=${needed}, or ask for fewer connections`,
    );
  }
  return { prefix: ["prlimit", `--nofile=${needed}`] };
}
