import { spawnSync } from "node:child_process";
import { expect } from "chai";

/** What `model/check.mjs` exports; it is not compiled, since it is also run by hand. */
interface Property {
  frames: [number, number];
  compile: string[];
  run: string[];
}
interface Check {
  properties: Record<string, Property>;
  mutations: Record<string, string>;
  search: (property: Property & { mutation?: string }) => Promise<{ errors: number; unreached: number }>;
}

const { properties, mutations, search } = (await import(
  new URL("../../model/check.mjs", import.meta.url).href
)) as Check;

describe("The model of the ring", function () {
  this.timeout(300_000);

  before(function () {
    const missing = ["spin", process.env["CC"] ?? "cc"].filter(
      (command) => spawnSync(command, ["--version"]).error !== undefined,
    );
    if (missing.length === 0) return;
    console.log(`    skipped: no ${missing.join(", no ")}`);
    this.skip();
  });

  for (const [name, property] of Object.entries(properties)) {
    it(`holds: ${name}`, async () => {
      const { errors, unreached } = await search(property);
      expect({ errors, unreached }).to.deep.equal({ errors: 0, unreached: 0 });
    });
  }

  for (const [name, mutation] of Object.entries(mutations)) {
    it(`does not hold if ${name}`, async () => {
      const [first] = Object.values(properties);
      expect((await search({ ...first!, mutation })).errors).to.be.above(0);
    });
  }
});
