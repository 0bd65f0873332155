/**
 * Times encoding and decoding against the stock writer and reader and protobufjs:
 * `npm run bench:protobuf -w packages/core`. Prints nanoseconds of CPU time (collecting the garbage included), which other
 * processes disturb less than the time that passes: the best of several rounds.
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { writeGenerated } from "./codecs.js";

const PROTO = `
  syntax = "proto3";
  package bench;
  message Small { string name = 1; int32 id = 2; bytes body = 3; uint64 number = 4; bool ok = 5; double score = 6; }
  message Item { string name = 1; int32 quantity = 2; double price = 3; repeated string tags = 4; Small small = 5; }
  message Nested { string id = 1; repeated Item items = 2; repeated int32 numbers = 3; int64 at = 4; }
  message Blob { bytes data = 1; }`;

// In a process of its own: this one holds a compiler, whose memory makes every collection of garbage slow.
const directory = await writeGenerated(new Map([["bench", PROTO]]));
try {
  const program = fileURLToPath(new URL("bench-run.js", import.meta.url));
  process.exitCode = spawnSync(process.execPath, [program, directory], { stdio: "inherit" }).status ?? 1;
} finally {
  rmSync(directory, { recursive: true });
}
