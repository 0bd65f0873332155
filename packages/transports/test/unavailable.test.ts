/** What transports that need the addon say where it is not loaded. */
import { execFileSync } from "node:child_process";
import { expect } from "chai";
import { nativeTransports } from "@sluice/transports";

const index = import.meta.resolve("@sluice/transports");
const script = `
  const { shm } = await import(${JSON.stringify(index)});
  await shm.connect("shm:anywhere", {}).catch((error) => console.log(error.message));
`;

function refusal(options: string[], env: NodeJS.ProcessEnv = {}): string {
  const args = [...options, "--input-type=module", "--eval", script];
  return execFileSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...env } });
}

(nativeTransports ? describe : describe.skip)("transports without the addon", () => {
  it("say that this process may not load it, and what to start it with", () => {
    const message = refusal(["--no-addons"]);
    expect(message).to.contain("shm: needs @sluice/native").and.to.contain("may not load addons");
    expect(message).to.contain("--no-addons").and.to.contain("--allow-addons");
    expect(message).to.not.contain("no build");
  });

  it("say that it is turned off", () => {
    expect(refusal([], { SLUICE_NATIVE: "0" })).to.contain("disabled by SLUICE_NATIVE=0; use unix: or tcp:");
  });
});
