/** What a server is told when it has no descriptor left for those who connect. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "chai";
import { nativeTransports } from "@sluice/transports";
import { Shortage } from "#transports/platform/shortage.js";
import { freshPath } from "./subjects.js";

const program = fileURLToPath(new URL("./descriptors-program.js", import.meta.url));

describe("a want of descriptors", () => {
  for (const scheme of ["unix", "shm", "mmap", "tcp"]) {
    (nativeTransports ? it : it.skip)(
      `is told of as connectionError, with the remedy (${scheme}:)`,
      async () => {
        const address = scheme === "tcp" ? "tcp://127.0.0.1:0" : `${scheme}:${freshPath()}`;
        const command = `ulimit -n 64; exec "$0" "$@"`;
        const args = ["-c", command, process.execPath, program, address];
        const { stdout } = await promisify(execFile)("/bin/sh", args);
        expect(stdout).to.contain(`cannot accept connections at ${scheme}:`);
        expect(stdout).to.contain("EMFILE").and.to.contain("ulimit -n");
      },
    );
  }

  it("is told of once, until a connection is accepted again", () => {
    const told: Error[] = [];
    const shortage = new Shortage((error) => told.push(error));
    const errors = [1, 2, 3, 4].map((number) => new Error(`${number}`));
    shortage.onError(errors[0]!);
    shortage.onError(errors[1]!);
    shortage.onAccepted();
    shortage.onError(errors[2]!);
    shortage.onError(errors[3]!);
    expect(told).to.deep.equal([errors[0], errors[2]]);
  });
});
