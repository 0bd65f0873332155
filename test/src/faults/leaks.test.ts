/** What is left of rings whose processes are killed at random: nothing. `SLUICE_CYCLES` lengthens it. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect } from "chai";
import { native } from "../carriers.js";
import { Child, descriptors, isRunning } from "../processes.js";
import { stateNames } from "../states.js";
import { SOON } from "../suite.js";
import { until } from "../within.js";

const CYCLES = Number(process.env["SLUICE_CYCLES"] ?? 40);

const KINDS = [
  { kind: "memfd", scheme: "shm" },
  { kind: "posix", scheme: "shm" },
  { kind: "sysv", scheme: "shm" },
  { kind: "file", scheme: "mmap" },
] as const;

/** Names of POSIX shared memory objects of this project, whoever made them. */
const posixNames = () => readdirSync("/dev/shm").filter((name) => name.startsWith("sluice-"));

/** System V segments that one of `creators` made, by proc(5): the fifth column is the creator's pid. */
function sysvSegments(creators: ReadonlySet<number>): string[] {
  const [, ...lines] = readFileSync("/proc/sysvipc/shm", "latin1").trim().split("\n");
  return lines.filter((line) => creators.has(Number(line.trim().split(/\s+/)[4])));
}

for (const { kind, scheme } of KINDS) {
  (native ? it : it.skip)(
    `nothing is left of ${CYCLES / 4} crashes with segments of kind ${kind}`,
    async function () {
      this.timeout(60_000 + CYCLES * 1000);
      const directory = mkdtempSync(join(tmpdir(), "sluice-"));
      const address = `${scheme}:${directory}/server`;
      const listenOptions = scheme === "shm" ? { segment: kind } : {};
      let before = 0;
      const pids = new Set<number>();
      const kill = async (child: Child): Promise<void> => {
        await child.destroy();
        pids.add(child.pid);
      };
      for (let cycle = 0; cycle < CYCLES / 4; cycle++) {
        const server = Child.run("server", [address, "{}", JSON.stringify(listenOptions)]);
        await server.line();
        const client = Child.run("client", [address, stateNames[cycle % stateNames.length]!, "5"]);
        // From before it has started to when it is idle.
        await setTimeout(Math.random() * 300);
        const both = cycle % 2 === 0 ? [server, client] : [client, server];
        for (const child of both) await kill(child);
        // What this process keeps open for its children it has by now.
        if (cycle === 2) before = descriptors(process.pid);
      }
      // Some of these may be of other processes, which have theirs for no more than the moments of a handshake.
      const names = posixNames();
      const left = () => posixNames().filter((name) => names.includes(name));
      await until(
        SOON,
        () => left().length === 0 && sysvSegments(pids).length === 0 && descriptors(process.pid) <= before,
        () =>
          `${left().join(", ")}; ${sysvSegments(pids).join("; ")}; ` +
          `${descriptors(process.pid)} descriptors, after the first cycles ${before}`,
      );
      // The socket of a killed server stays, for the next to take over.
      expect(readdirSync(directory)).to.deep.equal(["server"]);
      expect([...pids].filter(isRunning)).to.deep.equal([]);
      rmSync(directory, { recursive: true });
    },
  );
}
