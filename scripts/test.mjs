/**
 * Run every suite, or those whose name contains one of the arguments, three at a time. Each runs in a mocha process of its
 * own with a time budget, and must end by itself with nothing left running. The last line is `N passed, N failed`.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./step.mjs";

/**
 * How many suites run at the same time. Each waits much of the time, for processes to start or for time to pass, so that
 * three keep two CPUs busy. No more, since a user's POSIX message queues share what memory they may have
 * (RLIMIT_MSGQUEUE), of which one suite may need up to half.
 */
const AT_ONCE = 3;

const FALLBACK = { SLUICE_NATIVE: "0" };

/** For how long a suite may run before it counts as hung, about twice what slow machines need; and which run without the addon, too. */
const DEFAULTS = { budgetS: 360, bothWays: false };
const PARTICULARS = {
  native: { budgetS: 1000 },
  "packages/transports": { budgetS: 1000 },
  conformance: { budgetS: 1200, bothWays: true },
  faults: { budgetS: 1200, bothWays: true },
  hostile: { budgetS: 480, bothWays: true },
};

const suites = [
  { name: "native", folder: "native/test/dist" },
  ...[...children("packages"), ...children("examples")].map((folder) => ({
    name: folder,
    folder: `${folder}/test/dist`,
  })),
  ...children("test/dist").map((folder) => ({ name: folder.slice("test/dist/".length), folder })),
]
  .map((suite) => ({ ...DEFAULTS, ...PARTICULARS[suite.name], ...suite, files: testFiles(suite.folder) }))
  .filter(({ files }) => files.length > 0)
  .flatMap((suite) =>
    suite.bothWays ? [suite, { ...suite, name: `${suite.name} (fallback)`, env: FALLBACK }] : [suite],
  );

const wanted = process.argv.slice(2);
const chosen = suites.filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
const scratch = mkdtempSync(join(tmpdir(), "sluice-totals-"));
/** The leaders of the process groups of the suites that run, which an interrupted run takes with it. */
const running = new Set();
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
  process.once(signal, () => {
    for (const leader of running) endGroup(leader);
    rmSync(scratch, { recursive: true });
    process.exit(code);
  });
}

const totals = { passes: 0, failures: 0, pending: 0 };
/** What failed and why, which is shown again at the end: a log of thousands of lines may be cut before it is read. */
const failed = [];
// Those that take longest come first, so that the last to end does not run by itself for long.
const waiting = chosen.toSorted((one, other) => other.budgetS - one.budgetS);
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let suite; (suite = waiting.shift()) !== undefined;) {
      const { passes, failures, pending, failed: reasons, seconds, complaints } = await runSuite(suite);
      totals.passes += passes;
      totals.failures += failures + complaints.length;
      totals.pending += pending;
      for (const reason of [...reasons, ...complaints]) failed.push(`failed: ${suite.name}: ${reason}`);
      console.log(
        `${suite.name}: ${summary(passes, failures + complaints.length, pending)} in ${seconds.toFixed(1)} s\n`,
      );
    }
  }),
);
rmSync(scratch, { recursive: true });

if (chosen.length === 0) {
  console.error(
    wanted.length === 0
      ? "there are no compiled tests; run npm run build"
      : `no suite is called ${wanted.join(" or ")}; there are ${suites.map(({ name }) => name).join(", ")}`,
  );
}
for (const reason of failed) console.error(`${reason}\n`);
if (totals.pending > 0)
  console.log(`${totals.pending} skipped: what is missing here for them is named above`);
console.log(summary(totals.passes, totals.failures, 0));
// Set, not called: what was printed to a pipe must get out first.
process.exitCode = totals.failures > 0 || totals.passes === 0 ? 1 : 0;

/**
 * Run one suite in a process group of its own, so that what it leaves behind can be found, counted and ended. What it
 * prints is shown as it comes if it is the only one, and otherwise whole when it has ended.
 */
async function runSuite({ name, files, budgetS, env }) {
  console.log(`${name}: ${files.length} files, at most ${budgetS} s`);
  const begin = performance.now();
  const base = join(scratch, name.replaceAll("/", "-"));
  const totalsFile = `${base}.json`;
  // A file and not a pipe, which a process that outlives its group could keep open.
  const output = chosen.length > 1 ? openSync(`${base}.log`, "w") : "inherit";
  const child = spawn(
    process.execPath,
    [
      "--expose-gc", // to tell growth from what is not collected yet
      join(root, "node_modules/mocha/bin/mocha.js"),
      "--no-config",
      "--no-package",
      ...["--timeout", "30000"],
      ...["--reporter", join(root, "scripts/reporter.mjs")],
      ...["--reporter-option", `totals=${totalsFile}`],
      ...files,
    ],
    { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", output, output], detached: true },
  );
  running.add(child.pid);
  const complaints = [];
  let late = false;
  const budget = setTimeout(() => {
    late = true;
    endGroup(child.pid);
  }, budgetS * 1000);
  const { code, signal } = await new Promise((resolve, reject) => {
    child.on("exit", (code, signal) => resolve({ code, signal }));
    child.on("error", reject);
  });
  clearTimeout(budget);
  const left = groupMembers(child.pid);
  if (left.length > 0) endGroup(child.pid);
  running.delete(child.pid);
  if (output !== "inherit") {
    closeSync(output);
    process.stdout.write(readFileSync(`${base}.log`));
  }

  const finished = existsSync(totalsFile);
  const counts = finished
    ? JSON.parse(readFileSync(totalsFile, "utf8"))
    : { passes: 0, failures: 0, pending: 0, failed: [] };
  if (late) {
    complaints.push(
      finished
        ? `all tests ended, but something kept the process alive until its ${budgetS} s were over`
        : `not done within its ${budgetS} s`,
    );
  } else if (!finished) {
    complaints.push(`the process ended by ${signal ?? `exit code ${code}`} before its tests did`);
  } else if (counts.failures === 0 && code !== 0) {
    complaints.push(`the process ended by ${signal ?? `exit code ${code}`} although no test failed`);
  } else if (counts.passes + counts.failures === 0) {
    complaints.push("it ran no test");
  }
  if (!late && left.length > 0) complaints.push(`it left processes behind: ${left.join("; ")}`);
  return { ...counts, seconds: (performance.now() - begin) / 1000, complaints };
}

/** Kill every process of the group that a suite's process leads. */
function endGroup(leader) {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}

/** The live processes of a process group, as text, by proc(5). */
function groupMembers(leader) {
  if (!existsSync("/proc/self/stat")) return [];
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
        const [state, , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        if (Number(group) !== leader || state === "Z" || state === "X") return [];
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()}`];
      } catch {
        // It ended while we looked.
        return [];
      }
    });
}

function summary(passes, failures, pending) {
  return `${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ""}`;
}

function children(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${folder}/${name}`);
}

/** Every compiled test under `folder`, from the repository's root. */
function testFiles(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true })
    .filter((name) => name.endsWith(".test.js"))
    .sort()
    .map((name) => join(folder, name));
}
