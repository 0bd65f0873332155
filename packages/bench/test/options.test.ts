import { once } from "node:events";
import { readFileSync } from "node:fs";
import { expect } from "chai";
import { allowedCpus } from "@sluice/bench/placement.js";
import { childrenOf, runMain, startMain } from "./main.js";

describe("the options", function () {
  this.timeout(60_000);

  const refuses = async (options: string, ...why: string[]) => {
    const { code, stdout, stderr } = await runMain(options.split(" "));
    expect(stderr, options).to.contain(why.join("' cannot be used with option '"));
    expect({ code, stdout }, options).to.deep.equal({ code: 1, stdout: "" });
  };

  it("are refused where they contradict each other", async () => {
    await Promise.all([
      refuses("--quick --full", "--quick", "--full"),
      refuses("--cpus 0,0 --no-pin", "--no-pin", "--cpus <server,client>"),
      refuses("--from x --rounds 3", "--from <file>", "--rounds <n>"),
      refuses("--from x --no-pin", "--from <file>", "--no-pin"),
      refuses("--list --json x", "--list", "--json <file>"),
      refuses("--profile x --compare x", "--profile <id>", "--compare <file>"),
    ]);
  });

  it("are refused where two files are one", () =>
    refuses("--json /nowhere/x --html /nowhere/./x", "are both to write /nowhere/x: name two files"));

  it("are refused where there is no such CPU, with those that there are", () =>
    refuses("--cpus 0,99999", `This process may use: ${allowedCpus().join(", ")}.`));

  it("leave out what is compared with what is pinned, where nothing is", async () => {
    expect((await runMain(["--list", "--no-pin"])).stdout).not.to.contain("/unpinned");
    if (allowedCpus().length > 1) expect((await runMain(["--list"])).stdout).to.contain("/unpinned");
  });

  it("pin no profile of what is not pinned", async () => {
    const main = startMain(["--profile", "sluice/unix/unary/64/1/unpinned"]);
    let said = "";
    while (!said.includes("warming up")) said += String((await once(main.stderr, "data"))[0]);
    const allowed = childrenOf(main.pid!).map(cpusOf);
    expect(allowed).to.deep.equal([cpusOf(process.pid), cpusOf(process.pid)]);
    main.kill();
    await once(main, "exit");
  });
});

function cpusOf(pid: number): string {
  return /^Cpus_allowed_list:.*/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![0];
}
