/**
 * Stands in for npm while a document's commands are run: says whether the packages and scripts that they name exist,
 * and installs and runs nothing. What concerns only the package.json of the folder is left to npm itself.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

const [repository, command, ...rest] = process.argv.slice(2) as [string, string, ...string[]];
const { scripts } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as {
  scripts: Record<string, string>;
};
const names = rest.filter((argument) => !argument.startsWith("-"));

switch (command) {
  case "install":
    for (const name of names)
      check(existsSync(join(repository, "node_modules", name)), `there is no package ${name}`);
    break;
  case "test":
    check("test" in scripts, "there is no script test");
    break;
  case "run":
    check(names[0] !== undefined && names[0] in scripts, `there is no script ${names[0]}`);
    break;
  case "init":
  case "pkg":
    process.exitCode = real(command, ...rest);
    break;
  default:
    check(false, `the documents' tests do not know npm ${command}`);
}

function check(good: boolean, problem: string): void {
  if (good) return;
  console.error(problem);
  process.exit(1);
}

/** Runs npm itself, which comes next in the path, as a shell would: not with what an npm that runs these tests has set. */
function real(...args: string[]): number {
  const own = Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith("npm_"));
  const { status, error } = spawnSync("npm", args, {
    stdio: "inherit",
    env: {
      ...Object.fromEntries(own),
      PATH: process.env["PATH"]!.split(delimiter).slice(1).join(delimiter),
      npm_config_offline: "true",
      npm_config_update_notifier: "false",
    },
  });
  if (error !== undefined) throw error;
  return status ?? 1;
}
