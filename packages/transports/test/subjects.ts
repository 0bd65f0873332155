import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory of this test process alone (mode 0700), removed when it exits. */
export const directory = mkdtempSync(join(tmpdir(), "sluice-"));
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));

let next = 0;

/** A path in it that nothing uses. */
export function freshPath(): string {
  return join(directory, `${next++}.sock`);
}
