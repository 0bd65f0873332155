import { spawnSync } from "node:child_process";
import { expect } from "chai";

/** What `run-cpp.mjs` exports; it is not compiled, since it is also run by hand. */
interface Runner {
  variants: Record<string, string[]>;
  runVariant: (name: string) => Promise<string>;
}

const { variants, runVariant } = (await import(new URL("../run-cpp.mjs", import.meta.url).href)) as Runner;

describe("src/os, in plain C++", function () {
  this.timeout(300_000);

  before(function () {
    if (spawnSync(process.env["CXX"] ?? "g++", ["--version"]).status === 0) return;
    console.log("    skipped: no C++ compiler");
    this.skip();
  });

  for (const name of Object.keys(variants)) {
    it(`passes its tests (${name})`, async () => {
      expect(await runVariant(name)).to.match(/^\d\d+ passed, 0 failed$/m);
    });
  }
});
