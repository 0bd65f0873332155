/** Root hooks of the integration suites; loaded by every test file through `suite.ts`. */
import { Child } from "./processes.js";

afterEach(function () {
  if (this.currentTest?.state !== "failed") return;
  for (const child of Child.running) {
    if (child.stderr !== "") console.error(`standard error of process ${child.pid}:\n${child.stderr}`);
  }
});

after("no process is left", async () => {
  const left = Child.running;
  await Promise.all(left.map((child) => child.destroy()));
  if (left.length > 0)
    throw new Error(`the tests left ${left.length} processes behind: ${left.map((c) => c.pid)}`);
});
