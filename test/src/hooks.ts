/** Root hooks of the integration suites; loaded by every test file through `suite.ts`. */
import { native, nativeUnavailable } from "@sluice/native";
import { Child } from "./processes.js";

before("the addon is in use unless SLUICE_NATIVE=0", () => {
  if ((native === undefined) === (process.env["SLUICE_NATIVE"] === "0")) return;
  throw new Error(`without the addon these suites would test its fallback: ${nativeUnavailable}`);
});

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
