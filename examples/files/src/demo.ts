/**
 * The file service at work on the repository's own files, over one transport after the other: every file is copied to
 * the server, listed, hashed, searched and copied back, and what comes back is compared with what was sent.
 */
import { type ChildProcess, spawn as spawnProcess } from "node:child_process";
import { createHash, randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Channel, connect, createServer, spawn } from "@sluice/node";
import Table from "cli-table3";
import { generate } from "selfsigned";
import { download, upload } from "./copy.js";
import { FilesDefinition } from "./gen/files.js";
import { Root } from "./root.js";
import { filesService } from "./service.js";

/** Calls that run at once. */
const IN_FLIGHT = 4;
/** Times that the whole work is done on each transport. */
const ROUNDS = 3;
const SEARCHED = "connection";

const repository = fileURLToPath(new URL("../../..", import.meta.url));
const serverProgram = fileURLToPath(new URL("server.js", import.meta.url));
const scratch = await mkdtemp(join(tmpdir(), "sluice-demo-"));

/** A transport is added to the demo by its address here. */
const addresses = [
  `auto:${basename(scratch)}`,
  "memory:files",
  "pipe:",
  "stdio:",
  `unix:${join(scratch, "files.sock")}`,
  "tcp://127.0.0.1:0",
  "tls://127.0.0.1:0",
  "udp://127.0.0.1:0",
  `shm:${join(scratch, "files.shm")}`,
  `mmap:${join(scratch, "files.mmap")}`,
  `fifo:${join(scratch, "files.fifo")}`,
  `mq:/${basename(scratch)}`,
  `sysvmq:${randomInt(1, 2 ** 31)}`,
];

const certificate = join(scratch, "certificate.pem");
const key = join(scratch, "key.pem");

interface Original {
  readonly path: string;
  readonly size: number;
  readonly sha256: Buffer;
}

try {
  await makeCertificate();
  const originals = await readOriginals();
  const bytes = originals.reduce((sum, { size }) => sum + size, 0);
  console.log(`${originals.length} files of ${megabytes(bytes)} MB, ${ROUNDS} times on each transport`);
  const table = new Table({
    head: ["transport", "calls", "bytes", "p50 ms", "p99 ms", "calls/s", "MB/s"],
    colAligns: ["left", "right", "right", "right", "right", "right", "right"],
    style: { head: [], border: [] },
  });
  for (const address of addresses) table.push(await measure(address, originals));
  console.log(table.toString());
  console.log(
    `Every byte was compared by SHA-256. Latency is of whole calls, ${IN_FLIGHT} at once, work on the files included.`,
  );
} finally {
  await rm(scratch, { recursive: true });
}

/** Do all the work over one transport, and give its row of the table. */
async function measure(address: string, originals: readonly Original[]): Promise<string[]> {
  const scheme = address.slice(0, address.indexOf(":"));
  const served = join(scratch, scheme, "served");
  const copies = join(scratch, scheme, "copies");
  await mkdir(served, { recursive: true });
  const { channel, end } = await open(address, served);
  const latencies: number[] = [];
  const begin = performance.now();
  for (let round = 0; round < ROUNDS; round++) await work(channel, originals, copies, latencies);
  const seconds = (performance.now() - begin) / 1000;
  await channel.close();
  await end();

  latencies.sort((a, b) => a - b);
  const percentile = (p: number) => latencies[Math.ceil((latencies.length * p) / 100) - 1].toFixed(2);
  const bytes = 2 * ROUNDS * originals.reduce((sum, { size }) => sum + size, 0);
  return [
    scheme,
    String(latencies.length),
    String(bytes),
    percentile(50),
    percentile(99),
    (latencies.length / seconds).toFixed(0),
    megabytes(bytes / seconds),
  ];
}

/** One round. The latency of each call, in milliseconds, is appended to `latencies`. */
async function work(
  channel: Channel,
  originals: readonly Original[],
  copies: string,
  latencies: number[],
): Promise<void> {
  const files = channel.client(FilesDefinition);
  const timed = async <T>(call: Promise<T>): Promise<T> => {
    const begin = performance.now();
    const result = await call;
    latencies.push(performance.now() - begin);
    return result;
  };

  await each(originals, async ({ path, sha256 }) => {
    const sent = await timed(upload(files, join(repository, path), path));
    checkEqual(path, sent.sha256, sha256);
  });

  const listed = new Map<string, number>();
  await timed(forEach(files.list({ path: "" }), ({ path, size }) => listed.set(path, Number(size))));
  const wrong = originals.find(({ path, size }) => listed.get(path) !== size);
  if (wrong || listed.size !== originals.length) {
    throw new Error(
      `the server lists ${listed.size} files of ${originals.length}, first wrong: ${wrong?.path}`,
    );
  }

  await each(originals, async ({ path, sha256 }) => {
    checkEqual(path, (await timed(files.hash({ path }))).sha256, sha256);
  });

  let found = 0;
  await timed(forEach(files.search({ path: "", text: SEARCHED, ignoreCase: true }), () => found++));
  if (found === 0) throw new Error(`the search for "${SEARCHED}" found nothing`);

  await each(originals, async ({ path, sha256 }) => {
    const target = join(copies, path);
    await mkdir(dirname(target), { recursive: true });
    await timed(download(files, path, target));
    checkEqual(path, await hashOf(target), sha256);
  });
}

/** Serve `folder` at `address`, in a process of its own except for memory:, and connect to it. */
async function open(
  address: string,
  folder: string,
): Promise<{ channel: Channel; end: () => Promise<unknown> }> {
  if (address.startsWith("memory:")) {
    const server = createServer();
    server.add(FilesDefinition, filesService(await Root.open(folder)));
    await server.listen(address);
    return { channel: await connect(address), end: () => server.close() };
  }
  const args = [serverProgram, address, folder, certificate, key];
  if (address === "pipe:" || address === "stdio:") {
    const spawned = await spawn(process.execPath, args, {
      over: address,
      stdio: ["ignore", "inherit", "pipe"],
    });
    await listening(spawned.process);
    return { channel: spawned.channel, end: () => ended(spawned.process) };
  }
  const child = spawnProcess(process.execPath, args, { stdio: ["ignore", "inherit", "pipe"] });
  const channel = await connect(await listening(child), { ca: await readFile(certificate) });
  return {
    channel,
    end: () => {
      child.kill("SIGTERM");
      return ended(child);
    },
  };
}

/** For tls: a certificate that the server shows, and that the client trusts because it has it. */
async function makeCertificate(): Promise<void> {
  const made = await generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] }],
  });
  await writeFile(certificate, made.cert);
  await writeFile(key, made.private, { mode: 0o600 });
}

/** Where a server says that it listens, with the port that the kernel chose. What else it prints is passed on. */
function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const lines = createInterface(child.stderr!);
    lines.on("line", (line) => {
      if (line.startsWith("listening at ")) resolve(line.replace("listening at ", ""));
      else console.error(line);
    });
    lines.on("close", () => reject(new Error("the server ended before it listened")));
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function readOriginals(): Promise<Original[]> {
  const originals: Original[] = [];
  for await (const { path, size } of (await Root.open(repository)).walk("")) {
    originals.push({ path, size, sha256: await hashOf(join(repository, path)) });
  }
  return originals;
}

/** Run `action` on each item, `IN_FLIGHT` at a time. */
async function each<T>(items: readonly T[], action: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) await action(item);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

async function forEach<T>(messages: AsyncIterable<T>, action: (message: T) => void): Promise<void> {
  for await (const message of messages) action(message);
}

function checkEqual(path: string, actual: Uint8Array, expected: Buffer): void {
  if (!expected.equals(actual)) throw new Error(`${path} is not what was sent: its SHA-256 is another`);
}

async function hashOf(file: string): Promise<Buffer> {
  const content = await readFile(file);
  return createHash("sha256").update(content).digest();
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
