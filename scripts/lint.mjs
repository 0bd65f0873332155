/** Check the code by ESLint and its form by prettier, at the same time. */
import { join } from "node:path";
import { root, run, step } from "./step.mjs";

const node = (script, ...args) => run(process.execPath, [join(root, "node_modules", script), ...args]);

await Promise.all([
  step("lint", () => node("eslint/bin/eslint.js", ".")),
  step("check the format", () => node("prettier/bin/prettier.cjs", "--check", ".")),
]);
