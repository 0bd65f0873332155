/**
 * Stands in for npm while a document's commands are run: says whether the packages and scripts that they name exist,
 * and installs and runs nothing.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

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
  default:
    check(false, `the documents' tests do not know npm ${command}`);
}

function check(good: boolean, problem: string): void {
  if (good) return;
  console.error(problem);
  process.exit(1);
}
