/**
 * The unit tests of src/os, in plain C++ without Node: compiled and run once as they are, and once under each sanitizer.
 * Run by itself it prints everything; the mocha suite imports it.
 */
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const sources = join(here, "cpp");
const output = join(here, "../build/test");

/** Under what names the tests run, and the compiler's flags for each. */
export const variants = {
  plain: [],
  "address and undefined behaviour sanitizers": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
  "thread sanitizer": ["-fsanitize=thread"],
};

/** Compiles and runs the tests; resolves to what they printed, and rejects with that if one fails. */
export async function runVariant(name) {
  return run(await buildVariant(name), []);
}

/** Compiles the tests; resolves to the program's path. */
export async function buildVariant(name) {
  mkdirSync(output, { recursive: true });
  const program = join(output, name.replaceAll(" ", "-"));
  const files = readdirSync(sources).filter((file) => file.endsWith(".cc"));
  const flags = ["-std=c++20", "-g", "-pthread", "-Wall", "-Wextra", "-Werror", ...variants[name]];
  await run(process.env.CXX ?? "g++", [...flags, ...files.map((file) => join(sources, file)), "-o", program]);
  return program;
}

async function run(command, args) {
  try {
    return (await promisify(execFile)(command, args, { timeout: 280_000, maxBuffer: 1 << 24 })).stdout;
  } catch (error) {
    throw new Error(`${error.message}\n${error.stdout ?? ""}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of Object.keys(variants)) {
    console.log(`${name}:`);
    console.log(await runVariant(name));
  }
}
