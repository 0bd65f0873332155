import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";

const scripts = fileURLToPath(new URL("../../../scripts", import.meta.url));

describe("scripts/setup.mjs", () => {
  const PACKAGE = "packages/a/node_modules/b";
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "sluice-setup-"));
    cpSync(scripts, join(directory, "scripts"), { recursive: true });
    const lock = JSON.stringify({ packages: { [PACKAGE]: { version: "1.0.0" } } });
    write("package-lock.json", lock);
    write("node_modules/.package-lock.json", lock);
    write("bin/npm", '#!/bin/sh\necho "$1" > npm-ran\n', 0o755);
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  function write(path: string, text: string, mode = 0o644): void {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text, { mode });
  }

  /** Whether it installs the dependencies: by an npm that only says so, and without what would build the addon. */
  function installs(): boolean {
    const env = { ...process.env, PATH: join(directory, "bin") };
    execFileSync(process.execPath, ["scripts/setup.mjs"], { cwd: directory, env, stdio: "pipe" });
    return existsSync(join(directory, "npm-ran"));
  }

  it("installs nothing when all is there", () => {
    write(`${PACKAGE}/package.json`, "{}");
    expect(installs()).to.be.false;
  });

  it("installs what npm noted as installed and is gone, as in a copied checkout", () => {
    expect(installs()).to.be.true;
  });
});
