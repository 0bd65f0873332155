/** Random writes over the whole segment while calls run: see corruption.ts. `SLUICE_SEED` repeats a run. */
import { expect } from "chai";
import { native } from "../carriers.js";
import "../hooks.js";
import { corruptRings, truncateRings } from "./corruption.js";

const COUNT = 10_000;
const SEED = Number(process.env["SLUICE_SEED"] ?? Math.floor(Math.random() * 0xffff_ffff));

(native ? describe : describe.skip)("rings that somebody corrupts", function () {
  this.timeout(120_000);
  for (const mode of ["async", "sync"] as const) {
    it(`${COUNT} times, to a server and a client that is ${mode} (SLUICE_SEED=${SEED})`, async () => {
      const { corruptions, client, server } = await corruptRings(mode, COUNT, SEED);
      expect(corruptions).to.be.at.least(COUNT);
      // Calls got through in between, and connections ended with words that say why: else this tests nothing.
      expect(client.calls).to.be.above(5);
      expect(Object.keys(client.failures).join("\n")).to.match(/corrupted its ring/);
      expect(server).to.match(/corrupted its ring/);
    });

    it(`files that are truncated under a client that is ${mode}`, async () => {
      const { calls, failures } = await truncateRings(mode);
      expect(calls).to.be.above(0);
      expect(Object.keys(failures).join("\n")).to.match(/is gone in part: its file was truncated/);
    });
  }
});
