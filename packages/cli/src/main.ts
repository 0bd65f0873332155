import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { buf } from "./buf.js";
import { GenerateError } from "./error.js";
import { generate } from "./generate.js";

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const program = new Command("sluice")
  .description("Sluice: services defined in .proto files, called over any transport")
  .version(version)
  .showHelpAfterError();

program
  .command("generate")
  .description("turn .proto files into TypeScript: message types, codecs and service Definitions")
  .argument("<inputs...>", ".proto files, and directories to search for them")
  .requiredOption(
    "-o, --out <dir>",
    "directory to write to; files generated there earlier and not now are removed",
  )
  .option(
    "-I, --include <dir>",
    "a directory that imports are looked up in, beside those of the inputs; may be repeated",
    (dir: string, dirs: string[]) => [...dirs, dir],
    [],
  )
  .option("--check", "write nothing; fail and list what differs if the output is not up to date", false)
  .action(async (inputs: string[], options: { out: string; include: string[]; check: boolean }) => {
    const { out, check } = options;
    const { missing, stale, extra, files } = await generate({ inputs, ...options });
    const count = files === 1 ? "1 file" : `${files} files`;
    const differing = missing.length + stale.length + extra.length;
    if (!check) {
      for (const path of extra) console.log(`removed: ${path}`);
      console.log(`${count} in ${out}, ${missing.length + stale.length} written, ${extra.length} removed`);
    } else if (differing === 0) {
      console.log(`${count} in ${out} ${files === 1 ? "is" : "are"} up to date`);
    } else {
      for (const path of missing) console.error(`missing: ${path}`);
      for (const path of stale) console.error(`stale: ${path}`);
      for (const path of extra) console.error(`extra: ${path}`);
      console.error(`${out} is not up to date: run sluice generate without --check`);
      process.exitCode = 1;
    }
  });

for (const [name, purpose] of [
  ["lint", "find style problems in .proto files"],
  ["breaking", "find changes of .proto files that break others"],
] as const) {
  program
    .command(name)
    .description(`${purpose} (arguments are those of buf ${name})`)
    .argument("[args...]")
    .allowUnknownOption()
    .helpOption(false)
    .action(async (args: string[]) => {
      process.exitCode = (await buf([name, ...args])).exitCode;
    });
}

program
  .command("secret")
  .description("print a new secret for both ends of udp: connections: 32 random bytes in hexadecimal")
  .action(() => console.log(randomBytes(32).toString("hex")));

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof GenerateError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
