import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { type Block, blocks, links, packages } from "./page.js";
import { repository, Sandbox } from "./sandbox.js";

const PAGE_TIMEOUT_MS = 300_000;

const pages = [
  "README.md",
  "CONTRIBUTING.md",
  ...readdirSync(join(repository, "docs")).map((name) => `docs/${name}`),
  ...readdirSync(join(repository, "examples")).map((name) => `examples/${name}/README.md`),
  ...readdirSync(join(repository, "packages")).map((name) => `packages/${name}/README.md`),
  "native/README.md",
].filter((page) => page.endsWith(".md") && existsSync(join(repository, page)));

/** Those that are for users: CONTRIBUTING.md is about a clone of the repository, and would run these tests. */
const forUsers = pages.filter((name) => name !== "CONTRIBUTING.md");

describe("the snippets in documents", function () {
  this.timeout(PAGE_TIMEOUT_MS);

  for (const page of forUsers) {
    const found = blocks(join(repository, page));
    if (found.length === 0) continue;
    it(page, () => runPage(page, found));
  }
});

describe("the packages that documents use", () => {
  const quickStart = packages(blocks(join(repository, "README.md"))).installed;

  for (const page of forUsers) {
    const { used, installed } = packages(blocks(join(repository, page)));
    if (used.size === 0) continue;
    it(page, () => {
      const begun = beginsProject(installed) ? installed : new Set([...quickStart, ...installed]);
      expect([...used].filter((name) => !begun.has(name))).to.deep.equal([]);
    });
  }
});

describe("the links in documents", () => {
  for (const page of pages) {
    it(page, () => {
      const broken = links(join(repository, page)).filter(
        (link) => !existsSync(join(repository, page, "..", link)),
      );
      expect(broken).to.deep.equal([]);
    });
  }
});

/** The `sluice` command is installed where a project begins: such a page must say all that a new one needs. */
function beginsProject(installed: ReadonlySet<string>): boolean {
  return installed.has("@sluice/cli");
}

async function runPage(page: string, found: readonly Block[]): Promise<void> {
  const sandbox = new Sandbox({ empty: beginsProject(packages(found).installed) });
  try {
    for (const block of found) {
      if (block.kind === "file") {
        sandbox.write(block.name, block.text);
        continue;
      }
      const output = await sandbox.run(block.text);
      if (block.prints !== undefined) expect(output, `${page}:${block.line}`).to.equal(block.prints);
    }
    const commands = found.flatMap((block) => (block.kind === "shell" ? [block.text] : [])).join("");
    const programs = found.flatMap((block) =>
      block.kind === "file" && block.name.endsWith(".ts") ? [block.name] : [],
    );
    if (programs.length === 0 || /\btsc\b/.test(commands)) return;
    await sandbox.run("npx tsc\n");
    for (const program of new Set(programs)) await sandbox.run(`node ${program.replace(/\.ts$/, ".js")}\n`);
  } finally {
    sandbox.remove();
  }
}
