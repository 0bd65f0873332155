import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { expect } from "chai";

/** What `bench/limits.mjs` exports; it is not compiled, since it is also run by hand. */
interface Limits {
  buildLimits: () => string;
  limitTransports: string[];
}

const { buildLimits, limitTransports } = (await import(
  new URL("../../bench/limits.mjs", import.meta.url).href
)) as Limits;

const GONE = "limits: the other process has gone\n";

/** Empty for a descriptor that has been closed meanwhile. */
function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

describe("The C++ limits of the bench", function () {
  this.timeout(60_000);
  let program: string;

  before(function () {
    if (spawnSync(process.env["CXX"] ?? "g++", ["--version"]).status !== 0) {
      console.log("    skipped: no C++ compiler");
      return this.skip();
    }
    program = buildLimits();
  });

  const limits = async (...args: string[]) =>
    (await promisify(execFile)(program, args, { timeout: 30_000 })).stdout;

  for (const transport of limitTransports) {
    // The second window is more than the pipes and the ring hold, where messages go in fragments. The kernel may hold no
    // more than one such datagram.
    for (const [bytes, inFlight] of [
      [64, 8],
      [60_000, transport === "udp" ? 1 : 5],
    ] as const) {
      it(`measures ${transport}: ${bytes} bytes, ${inFlight} in flight`, async () => {
        const line = await limits(
          ...["--transport", transport, "--bytes", `${bytes}`, "--in-flight", `${inFlight}`],
          ...["--seconds", "0.05", "--capacity", "16384"],
        );
        const row = JSON.parse(line) as Record<string, unknown>;
        expect(row).to.include({ implementation: "c++", transport, kind: "echo", bytes, inFlight });
        expect(row["callsPerSecond"]).to.be.above(0);
        expect(row["p50Us"]).to.be.above(0);
        expect(row["p99Us"]).to.be.at.least(row["p50Us"] as number);
        expect(row["capacity"]).to.equal(transport.startsWith("ring") ? 16384 : undefined);
      });
    }
  }

  it("has rings that messages of any size pass whole", async () => {
    for (const [bytes, capacity] of [
      [64, 1 << 18],
      [1 << 16, 1 << 18],
      [(1 << 16) + 1, 1 << 19],
      [1 << 20, 1 << 22],
    ]) {
      const line = await limits("--transport", "ring-polled", "--bytes", `${bytes}`, "--seconds", "0.01");
      expect(JSON.parse(line)).to.include({ bytes, capacity });
    }
  });

  it("times at least three messages for each in flight", async () => {
    const line = await limits("--transport", "unix", "--in-flight", "1000", "--seconds", "0.001");
    expect((JSON.parse(line) as { calls: number }).calls).to.be.at.least(3000);
  });

  /** Runs until one of its two processes is killed; `find` is given the program's pid, and says what it has in use by then. */
  const killed = async <T extends object>(
    transport: string,
    which: "client" | "server",
    find: (pid: number) => T | undefined,
  ) => {
    const args = ["--transport", transport, "--bytes", "64", "--in-flight", "8", "--seconds", "60"];
    const client = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    client.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
    client.stdout.resume();
    const closed = once(client, "close") as Promise<[number | null]>;
    let found: T | undefined;
    while ((found = find(client.pid!)) === undefined) {
      expect(client.exitCode, stderr).to.equal(null);
      await sleep(10);
    }
    process.kill(which === "client" ? client.pid! : server(client.pid!)!, "SIGKILL");
    // All who have its output have ended then.
    const [code] = await closed;
    return { code, stderr, found };
  };
  /** The program's child that serves, once there is one: the last that it started. */
  const server = (pid: number) => {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return children === "" ? undefined : Number(children.split(" ").at(-1));
  };

  /** The System V queues, by number, that the program has received from. */
  const sysvQueues = () =>
    readFileSync("/proc/sysvipc/msg", "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/).map(Number))
      .map(([, id, , , , sender, receiver]) => ({ id, sender, receiver }));
  const inUse = (pid: number) => {
    const queues = sysvQueues().filter(({ sender, receiver }) => sender === pid || receiver === pid);
    return queues.length === 2 ? queues.map(({ id }) => id) : undefined;
  };

  for (const which of ["client", "server"] as const) {
    it(`leaves no System V queue behind when its ${which} is killed`, async () => {
      const { code, stderr, found } = await killed("sysvmq", which, inUse);
      expect(sysvQueues().filter(({ id }) => found.includes(id))).to.deep.equal([]);
      if (which === "server") expect({ code, stderr }).to.deep.equal({ code: 1, stderr: GONE });
    });
  }

  it("has no name for its POSIX queues by the time that it measures, and ends when its server is killed", async () => {
    const opened = (pid: number) => {
      if (server(pid) === undefined) return undefined;
      const links = readdirSync(`/proc/${pid}/fd`).map((fd) => readLink(`/proc/${pid}/fd/${fd}`));
      return links.filter((link) => link.startsWith("/sluice-limits-"));
    };
    const { code, stderr, found } = await killed("mq", "server", opened);
    expect(found).not.to.be.empty;
    for (const link of found) expect(link).to.match(/ \(deleted\)$/);
    expect({ code, stderr }).to.deep.equal({ code: 1, stderr: GONE });
  });

  it("says what is wrong with its arguments", async () => {
    const refusal = (...args: string[]) =>
      limits(...args).then(
        () => "",
        (error: { stderr: string }) => error.stderr,
      );
    expect(await refusal()).to.match(/^limits: usage:/);
    expect(await refusal("--transport", "telex")).to.match(/there is no transport "telex"\nusage:/);
    expect(await refusal("--transport", "unix", "--bytes", "none")).to.match(
      /--bytes must be a number from 1 to 1073741824, not "none"/,
    );
    expect(await refusal("--transport", "udp", "--bytes", "65508")).to.match(/at most 65507 bytes/);
    expect(await refusal("--transport", "ring-polled", "--capacity", "5000")).to.match(/a power of two/);
  });
});
