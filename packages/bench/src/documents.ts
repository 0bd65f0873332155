/** The tables that the repository's documents have of the published run: those between a comment that names one and one that ends it. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { formatCount, markdownReport, markdownTable } from "./report.js";
import type { BenchResult, Row } from "./result.js";
import { scenarioId } from "./scenarios.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** Where the published run is, and the documents that show it; relative to the repository. */
export const PUBLISHED_RESULT = "docs/figures/default.json";
export const DOCUMENTS: readonly string[] = [
  "README.md",
  "docs/performance.md",
  "docs/transports.md",
  "docs/udp.md",
];

type MakeTable = (result: BenchResult) => string;

const TABLES: ReadonlyMap<string, MakeTable> = new Map([
  ["report", markdownReport],
  ["overview", overview],
  ["transports", transports],
  ["udp", udp],
]);

const BEGIN = /^<!-- figures: (.*) -->$/;
const END = "<!-- end of figures -->";

/** Make `result` the published one: write it, and what the documents show of it. */
export function publish(result: BenchResult): void {
  const filled = DOCUMENTS.map((path) => [path, fillDocument(readDocument(path), result)]);
  for (const [path, text] of filled) writeFileSync(join(ROOT, path), text);
  writeFileSync(join(ROOT, PUBLISHED_RESULT), `${JSON.stringify(result, null, 2)}\n`);
}

export function readDocument(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** The text with all of its tables made of `result`. Throws where there is no such table, or the result has no such row. */
export function fillDocument(text: string, result: BenchResult): string {
  const filled: string[] = [];
  let inside: string | undefined = undefined;
  for (const line of text.split("\n")) {
    const [, name] = BEGIN.exec(line) ?? [];
    if (name !== undefined) {
      if (inside !== undefined) throw new Error(`"${inside}" has no end before "${name}" begins`);
      const table = TABLES.get(name);
      if (table === undefined) {
        throw new Error(`there is no table "${name}"; there are ${[...TABLES.keys()].join(", ")}`);
      }
      filled.push(line, "", table(result).trimEnd(), "");
      inside = name;
    } else if (line === END) {
      if (inside === undefined) throw new Error(`"${END}" ends nothing`);
      inside = undefined;
    }
    if (inside === undefined) filled.push(line);
  }
  if (inside !== undefined) throw new Error(`"${inside}" has no end: ${END}`);
  return filled.join("\n");
}

// ---------------------------------------------------------------------------------------------------- Tables

/** What there is to choose from. Each is known by the start of its rows' ids. */
const OVERVIEW = [
  ["Sluice, `shm:`", "sluice/shm/unary"],
  ["Sluice, `pipe:`", "sluice/pipe/unary"],
  ["Sluice, `unix:`", "sluice/unix/unary"],
  ["Sluice, `tcp:`", "sluice/tcp/unary"],
  ["zeromq, `ipc:`", "zeromq/ipc/unary"],
  ["capnweb, WebSocket on a Unix socket", "capnweb/websocket/unary"],
  ["vscode-jsonrpc, Unix socket", "vscode-jsonrpc/unix/unary"],
  ["grpc-js, Unix socket", "grpc-js/unix/unary"],
  ["nice-grpc, Unix socket", "nice-grpc/unix/unary"],
  ["connect-node, Unix socket", "connect-node/unix/unary"],
  ["bare `MessagePort` of a worker", "MessagePort/worker/echo"],
  ["bare `process.send`, JSON", "process.send/json/echo"],
  ["bare `node:net`, Unix socket", "node:net/unix/echo"],
] as const;

function overview(result: BenchResult): string {
  return markdownTable(
    ["64 bytes there and back", "one at a time", "64 at once"],
    OVERVIEW.map(([name, id]) => [name, ...smallMessages(result, id)]),
    1,
  );
}

const TRANSPORTS = [
  ...["memory", "shm", "mmap", "unix", "pipe", "stdio"],
  ...["tcp", "tls", "udp", "fifo", "mq", "sysvmq"],
];

function transports(result: BenchResult): string {
  return markdownTable(
    ["address", "one call of 64 B", "64 at once"],
    TRANSPORTS.map((name) => [`\`${name}:\``, ...smallMessages(result, `sluice/${name}/unary`)]),
    1,
  );
}

const UDP_LOADS = [
  ["64 bytes, 1", "64/1"],
  ["64 bytes, 64", "64/64"],
  ["1 KiB, 64", "1024/64"],
  ["64 KiB, 64", "65536/64"],
  ["1 MiB, 16", "1048576/16"],
] as const;

function udp(result: BenchResult): string {
  const rate = (id: string) => formatCount(rowOf(result, id).callsPerSecond);
  return markdownTable(
    ["message, calls in flight", "without a secret", "with one"],
    UDP_LOADS.map(([name, load]) => [
      name,
      rate(`sluice/udp/unary/${load}`),
      rate(`sluice/udp-secret/unary/${load}`),
    ]),
    1,
  );
}

/** The median time of one of 64 bytes, to two digits, and how many a second there are with 64 in flight, to three. */
function smallMessages(result: BenchResult, id: string): string[] {
  const { p50Us } = rowOf(result, `${id}/64/1`);
  const { callsPerSecond } = rowOf(result, `${id}/64/64`);
  return [`${Number(p50Us.toPrecision(2))} us`, `${formatCount(Number(callsPerSecond.toPrecision(3)))}/s`];
}

function rowOf(result: BenchResult, id: string): Row {
  const row = result.rows.find((row) => scenarioId(row) === id);
  if (row === undefined) throw new Error(`the result has no ${id}, which the documents show`);
  return row;
}
