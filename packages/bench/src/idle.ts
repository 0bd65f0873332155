/** What idle connections cost their server: memory and CPU time, as the kernel counts them. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { StartOptions } from "./bench-process.js";
import { Endpoints } from "./endpoints.js";
import type { Scenario } from "./scenarios.js";

export interface IdleResult {
  readonly implementation: string;
  readonly transport: string;
  readonly connections: number;
  /** The server's proportional set size before the first connection, and with all of them. */
  readonly emptyPssBytes: number;
  readonly pssBytes: number;
  /** CPU time that the server spent while all were idle, and for how long that was watched. */
  readonly cpuMs: number;
  readonly watchedMs: number;
}

const CLIENT_PROCESSES = 4;
/** For what a process has open beside its connections. */
const OTHER_FILES = 256;
const SETTLE_MS = 2000;
const WATCHED_MS = 5000;
/** Linux counts a process's CPU time for user space in units of 1/100 s, whatever the kernel's own tick: see proc(5). */
const MS_PER_TICK = 10;

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
    const emptyPssBytes = pssBytes(server.pid);
    for (let process = 0; process < CLIENT_PROCESSES; process++) {
      const share = Math.floor((connections + process) / CLIENT_PROCESSES);
      progress(`opening ${share} connections, process ${process + 1} of ${CLIENT_PROCESSES}`);
      await endpoints.addClient(share, openFiles(share));
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
  const needed = connections + OTHER_FILES;
  if (hard === "unlimited" || Number(hard) >= needed) return {};
  if (process.getuid!() !== 0) {
    throw new Error(
      `${connections} connections need ${needed} open files, and the hard limit is ${hard}: ` +
        `raise it as root, with prlimit --pid $$ --nofile=${needed}, or ask for fewer connections`,
    );
  }
  return { prefix: ["prlimit", `--nofile=${needed}`] };
}

function pssBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)![1]) * 1024;
}

function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name, second of the fields, may hold anything but ends with the last parenthesis; utime and stime are 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[14 - 3]) + Number(fields[15 - 3])) * MS_PER_TICK;
}
