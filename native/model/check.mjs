/**
 * Checks ring.pml and blocks.pml with Spin: that they hold, and that Spin finds the error in every variant of them that lacks a step or
 * has one in the wrong place; were one of these to pass, the model would not show why the step is there. Needs spin and
 * a C compiler. Run by itself it prints each result (`node model/check.mjs`); the mocha suite imports it.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const output = join(here, "../build");

const safety = { compile: ["-DSAFETY"], run: [] };
/** A cycle without progress, among those in which no side stands still for ever though it could go on (-f). */
const cycles = { compile: ["-DNP"], run: ["-l", "-f"] };

/** What holds, by what is shown; `frames` are sent by side 0 and by side 1. */
export const properties = {
  "no wake-up is lost; every frame arrives once, in order, whole": {
    model: "ring",
    frames: [3, 2],
    ...safety,
  },
  "no side is busy for ever without a frame getting further": { model: "ring", frames: [2, 2], ...cycles },
  "a frame in a block is whole, stays as it is while it is kept, and its block comes back": {
    model: "blocks",
    ...safety,
  },
};
const [ring, , blocks] = Object.values(properties);

/** What must not hold: the property, and the macro that makes the variant. */
const ringMutations = {
  "there is no look after the flag is raised": "NO_LOOK",
  "the look comes before the flag is raised": "LOOK_BEFORE_FLAG",
  "there is no look for the room that is waited for": "NO_LOOK_FOR_ROOM",
  "the peer's flag is read before the head is stored": "FLAG_BEFORE_HEAD",
  "the peer's wish is read before the tail is stored": "WAITING_BEFORE_TAIL",
  "nobody is told of new room": "NO_WAKE_FOR_ROOM",
  "a wish for room is not written down": "NO_WAITING",
  "the waker believes the flag as loaded, not as exchanged": "WAKE_AS_LOADED",
  "bells are heard after the flag is raised": "HEAR_AFTER_FLAG",
  "the head is stored before the record is written": "HEAD_BEFORE_RECORD",
  "the tail is stored before the record is copied": "TAIL_BEFORE_COPY",
};
const blockMutations = {
  "a block is written without a look at its state": "NO_LOOK_AT_STATE",
  "the reader is told of a block before it is written": "RECORD_BEFORE_BLOCK",
  "a block is marked as used after the reader was told of it": "STATE_AFTER_RECORD",
  "a block is given back before the last look at it": "FREE_BEFORE_LAST_LOOK",
};
export const mutations = Object.fromEntries([
  ...Object.entries(ringMutations).map(([name, mutation]) => [name, { ...ring, mutation }]),
  ...Object.entries(blockMutations).map(([name, mutation]) => [name, { ...blocks, mutation }]),
]);

/** Resolves to how many errors Spin found (it ends with the first), how many states, and how many statements it never reached. */
export async function search({ model, frames = [], compile, run, mutation }) {
  mkdirSync(output, { recursive: true });
  const directory = mkdtempSync(join(output, "model-"));
  try {
    const options = { cwd: directory, maxBuffer: 1 << 24, timeout: 300_000 };
    const call = (command, args) => promisify(execFile)(command, args, options);
    const macros = [
      ...frames.map((count, side) => `-DFRAMES_${side}=${count}`),
      ...(mutation ? [`-D${mutation}`] : []),
    ];
    await call("spin", [...macros, "-a", join(here, `${model}.pml`)]);
    await call(process.env.CC ?? "cc", [
      // A search that is soon over takes less time than the optimizer.
      mutation ? "-O0" : "-O2",
      "-w",
      "-DCOLLAPSE",
      "-DMEMLIM=4096",
      ...compile,
      "-o",
      "pan",
      "pan.c",
    ]);
    const { stdout } = await call("./pan", ["-m100000", ...run]);
    const found = (pattern) => Number(pattern.exec(stdout)?.[1]);
    const result = {
      errors: found(/errors: (\d+)/),
      states: found(/(\d+) states, stored/),
      unreached: [...stdout.matchAll(/unreached in proctype \w+\n(?:.*\n)*?\t\((\d+) of/g)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      ),
    };
    // Out of memory or of depth, it has not looked everywhere, and says so among other things.
    const whole = !/error: max search depth|out of memory|memory bound/.test(stdout);
    if (!whole || Number.isNaN(result.errors)) throw new Error(`Spin did not finish:\n${stdout}`);
    return result;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  let failed = 0;
  const report = (ok, name, { errors, states }) => {
    if (!ok) failed++;
    console.log(`${ok ? "ok     " : "FAILED "} ${name} (${errors} errors, ${states} states)`);
  };
  for (const [name, property] of Object.entries(properties)) {
    const result = await search(property);
    report(result.errors === 0 && result.unreached === 0, name, result);
  }
  for (const [name, mutation] of Object.entries(mutations)) {
    const result = await search(mutation);
    report(result.errors > 0, `error found: ${name}`, result);
  }
  process.exit(failed === 0 ? 0 : 1);
}
