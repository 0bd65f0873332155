import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { connect, RpcError } from "@sluice/node";
import { SingleBar } from "cli-progress";
import { Command } from "commander";
import { download, type FilesClient, type Progress, upload } from "./copy.js";
import { FilesDefinition } from "./gen/files.js";

const program = new Command("files")
  .description("Use a file service.")
  .option("-a, --address <address>", "where it listens", "unix:/tmp/files.sock")
  .option("--ca <file>", "over tls: the certificate to trust, in PEM");

program
  .command("list [folder]")
  .description("sizes and paths of the files below a folder")
  .action((folder: string | undefined) =>
    withFiles(async (files) => {
      for await (const { path, size } of files.list({ path: folder ?? "" }))
        console.log(`${String(size).padStart(12)}  ${path}`);
    }),
  );

program
  .command("hash <path>")
  .description("SHA-256 of a file")
  .action((path: string) =>
    withFiles(async (files) => {
      const { sha256 } = await files.hash({ path });
      console.log(`${Buffer.from(sha256).toString("hex")}  ${path}`);
    }),
  );

program
  .command("search <text> [folder]")
  .description("lines that contain a text")
  .option("-i, --ignore-case", "take capitals and small letters as the same", false)
  .action((text: string, folder: string | undefined, { ignoreCase }: { ignoreCase: boolean }) =>
    withFiles(async (files) => {
      for await (const match of files.search({ path: folder ?? "", text, ignoreCase })) {
        console.log(`${match.path}:${match.line}: ${match.text}`);
      }
    }),
  );

program
  .command("get <path> [target]")
  .description("copy a file from the server")
  .action((path: string, target: string = basename(path)) =>
    withFiles(async (files) => {
      await withBar((progress) => download(files, path, target, progress));
    }),
  );

program
  .command("put <source> [path]")
  .description("copy a file to the server")
  .action((source: string, path: string = basename(source)) =>
    withFiles(async (files) => {
      await withBar((progress) => upload(files, source, path, progress));
    }),
  );

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof RpcError)) throw error;
  console.error(`${error.codeName}: ${error.message}`);
  process.exitCode = 1;
}

async function withFiles(work: (files: FilesClient) => Promise<void>): Promise<void> {
  const { address, ca } = program.opts<{ address: string; ca?: string }>();
  const channel = await connect(address, ca === undefined ? {} : { ca: await readFile(ca) });
  try {
    await work(channel.client(FilesDefinition));
  } finally {
    await channel.close();
  }
}

async function withBar(work: (progress: Progress) => Promise<unknown>): Promise<void> {
  const bar = new SingleBar({ format: "{bar} {percentage}% | {value}/{total} bytes | {eta_formatted}" });
  const progress: Progress = {
    start: (bytes) => bar.start(bytes, 0),
    increment: (bytes) => bar.increment(bytes),
  };
  try {
    await work(progress);
  } finally {
    bar.stop();
  }
}
