import { spawnSync } from "node:child_process";
import { expect } from "chai";

/** What `run-cpp.mjs` exports; it is not compiled, since it is also run by hand. */
interface Runner {
  variants: Record<string, string[]>;
  runVariant: (name: string) => Promise<string>;
}

const { variants, runVariant } = (await import(new URL("../run-cpp.mjs", import.meta.url).href)) as Runner;

describe("src/os, in plain C++", function () {
  this.timeout(600_000);

  before(function () {
    if (spawnSync(process.env["CXX"] ?? "g++", ["--version"]).status === 0) return;
    console.log("    skipped: no C++ compiler");
    this.skip();
  });

  const names = Object.keys(variants);
  let outcomes: Map<string, PromiseSettledResult<string>>;

  // All at once: compiling is most of it, and what runs waits for other processes half of the time.
  before(async () => {
    const settled = await Promise.allSettled(names.map(runVariant));
    outcomes = new Map(names.map((name, index) => [name, settled[index]!]));
  });

  for (const name of names) {
    it(`passes its tests (${name})`, () => {
      const outcome = outcomes.get(name)!;
      if (outcome.status === "rejected") throw outcome.reason;
      expect(outcome.value).to.match(/^\d\d+ passed, 0 failed$/m);
    });
  }
});
