/**
 * Run every suite, or those whose name contains one of the arguments. Each runs in a mocha process of its own with a
 * time budget, and must end by itself with nothing left running. The last line is `N passed, N failed`.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./step.mjs";

const FALLBACK = { SLUICE_NATIVE: "0" };

/** Suites that have something to tell apart with and without the addon, beside the integration suites. */
const BOTH_WAYS = ["packages/node"];

const units = [...children("packages"), ...children("examples")].flatMap((folder) => {
  const unit = { name: folder, folder: `${folder}/test/dist`, budgetS: 360 };
  return BOTH_WAYS.includes(folder)
    ? [unit, { ...unit, name: `${folder} (fallback)`, env: FALLBACK }]
    : [unit];
});

/** The integration suites and how long each may take. What is not named here runs once, in the default budget. */
const INTEGRATION = {
  conformance: { budgetS: 480, bothWays: true },
  faults: { budgetS: 720, bothWays: true },
  hostile: { budgetS: 360, bothWays: true },
};
const integration = children("test/dist").flatMap((folder) => {
  const name = folder.slice("test/dist/".length);
  const { budgetS, bothWays } = INTEGRATION[name] ?? { budgetS: 240, bothWays: false };
  const suite = { name, folder, budgetS };
  return bothWays ? [suite, { ...suite, name: `${name} (fallback)`, env: FALLBACK }] : [suite];
});

const suites = [{ name: "native", folder: "native/test/dist", budgetS: 300 }, ...units, ...integration]
  .map((suite) => ({ ...suite, files: testFiles(suite.folder) }))
  .filter(({ files }) => files.length > 0);

const wanted = process.argv.slice(2);
const chosen = suites.filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
const scratch = mkdtempSync(join(tmpdir(), "sluice-totals-"));
/** The process group of the suite that runs, which an interrupted run takes with it. */
let current;
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
  process.once(signal, () => {
    if (current !== undefined) endGroup(current);
    process.exit(code);
  });
}

const totals = { passes: 0, failures: 0, pending: 0 };
const broken = [];
for (const [i, suite] of chosen.entries()) {
  const { passes, failures, pending, seconds, complaints } = await runSuite(
    suite,
    join(scratch, `${i}.json`),
  );
  totals.passes += passes;
  totals.failures += failures + complaints.length;
  totals.pending += pending;
  for (const complaint of complaints) console.error(`${suite.name}: ${complaint}`);
  if (failures + complaints.length > 0) broken.push(suite.name);
  console.log(
    `${suite.name}: ${summary(passes, failures + complaints.length, pending)} in ${seconds.toFixed(1)} s\n`,
  );
}
rmSync(scratch, { recursive: true });

if (chosen.length === 0) {
  console.error(
    wanted.length === 0
      ? "there are no compiled tests; run npm run build"
      : `no suite is called ${wanted.join(" or ")}; there are ${suites.map(({ name }) => name).join(", ")}`,
  );
}
if (broken.length > 0) console.error(`failed: ${broken.join(", ")}`);
if (totals.pending > 0)
  console.log(`${totals.pending} skipped: what is missing here for them is named above`);
console.log(summary(totals.passes, totals.failures, 0));
// Set, not called: what was printed to a pipe must get out first.
process.exitCode = totals.failures > 0 || totals.passes === 0 ? 1 : 0;

/** Run one suite in a process group of its own, so that what it leaves behind can be found, counted and ended. */
async function runSuite({ name, files, budgetS, env }, totalsFile) {
  console.log(`${name}: ${files.length} files, at most ${budgetS} s`);
  const begin = performance.now();
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
    { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "inherit", "inherit"], detached: true },
  );
  current = child.pid;
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
  current = undefined;
  const left = groupMembers(child.pid);
  if (left.length > 0) endGroup(child.pid);

  const finished = existsSync(totalsFile);
  const counts = finished
    ? JSON.parse(readFileSync(totalsFile, "utf8"))
    : { passes: 0, failures: 0, pending: 0 };
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
