import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect } from "chai";

/** What `model/check.mjs` exports; it is not compiled, since it is also run by hand. */
interface Property {
  model: string;
  frames?: [number, number];
  compile: string[];
  run: string[];
}
interface Check {
  properties: Record<string, Property>;
  mutations: Record<string, Property & { mutation: string }>;
  search: (property: Property) => Promise<{ errors: number; unreached: number }>;
}

const { properties, mutations, search } = (await import(
  new URL("../../model/check.mjs", import.meta.url).href
)) as Check;

describe("The models of the ring and its blocks", function () {
  this.timeout(600_000);

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
      expect((await search(mutation)).errors).to.be.above(0);
    });
  }
});

describe("The sync points of the ring", () => {
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
  const numbers = (text: string) => {
    const points = text.matchAll(/SYNC POINT (\d)(?: and (\d))?/g);
    return new Set([...points].flatMap((point) => point.slice(1).filter((digit) => digit !== undefined)));
  };

  it("are steps of the model, and explained", () => {
    const sources = numbers(read("native/src/os/ring.h") + read("native/src/os/semaphore.h"));
    const explained = [...read("docs/shared-memory.md").matchAll(/^\| (\d) /gm)].map((row) => row[1]);
    expect([...sources].sort()).to.deep.equal(["1", "2", "3", "4", "5", "6"]);
    expect([...numbers(read("native/model/ring.pml"))]).to.include.members([...sources]);
    const blocks = numbers(read("packages/transports/src/ring/blocks.ts"));
    expect([...blocks]).to.deep.equal(["8"]);
    expect([...numbers(read("native/model/blocks.pml"))]).to.include.members([...blocks]);
    const guard = numbers(read("native/src/os/fault_guard.h"));
    expect(explained).to.include.members([...sources, ...blocks, ...guard]);
  });

  it("break in the model in the ways that the document names", () => {
    const document = read("docs/shared-memory.md");
    for (const { mutation } of Object.values(mutations)) expect(document).to.include(`\`${mutation}\``);
  });
});
