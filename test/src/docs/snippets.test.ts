import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { type Block, blocks, links } from "./page.js";
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

describe("the snippets in documents", function () {
  this.timeout(PAGE_TIMEOUT_MS);

  for (const page of pages.filter((name) => name !== "CONTRIBUTING.md")) {
    const found = blocks(join(repository, page));
    if (found.length === 0) continue;
    it(page, () => runPage(page, found));
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

async function runPage(page: string, found: readonly Block[]): Promise<void> {
  const commands = found.flatMap((block) => (block.kind === "shell" ? [block.text] : [])).join("");
  // The `sluice` command is installed where a project begins: such a page must say all that a new one needs.
  const sandbox = new Sandbox({ empty: /\bnpm install .*@sluice\/cli\b/.test(commands) });
  try {
    for (const block of found) {
      if (block.kind === "file") {
        sandbox.write(block.name, block.text);
        continue;
      }
      const output = await sandbox.run(block.text);
      if (block.prints !== undefined) expect(output, `${page}:${block.line}`).to.equal(block.prints);
    }
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
