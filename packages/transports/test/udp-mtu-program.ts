/**
 * Both ends of a connection over `udp:` on a loopback interface of their own, with the MTUs that are given, one after another:
 * `unshare --net node udp-mtu-program.js HOST MTU...`. Prints as JSON how long the longest packet was with each, once megabytes had been sent
 * with it, and how many were fragmented meanwhile.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { native } from "@sluice/native";
import { makeFrame } from "@sluice/transport-contract";
import { nativePlatform } from "#transports/platform/native/index.js";
import { createUdpTransport } from "#transports/udp/index.js";
import { LENGTH, NEXT, SEGMENT, type DatagramSocket } from "#transports/udp/socket.js";
import { EchoSite } from "./echo-site.js";

const FRAMES = 100;
const [host, ...mtus] = process.argv.slice(2);

let longest = 0;
/** Watches what `socket` sends. */
function watched(socket: DatagramSocket): DatagramSocket {
  const send = socket.send.bind(socket);
  socket.send = (memory, end) => {
    const words = new Int32Array(memory.buffer, memory.byteOffset, memory.length >> 2);
    for (let at = 0; at < end; at += words[(at >> 2) + NEXT]!) {
      longest = Math.max(longest, Math.min(words[(at >> 2) + LENGTH]!, words[(at >> 2) + SEGMENT]!));
    }
    send(memory, end);
  };
  return socket;
}

/** Packets that this namespace's kernel has cut into fragments (proc(5)). */
function fragmented(): number {
  const [names, values] = readFileSync("/proc/net/snmp", "latin1")
    .split("\n")
    .filter((line) => line.startsWith("Ip:"))
    .map((line) => line.split(" "));
  const ip = Number(values![names!.indexOf("FragOKs")]);
  const ipv6 = /Ip6FragOKs\s+(\d+)/.exec(readFileSync("/proc/net/snmp6", "latin1"));
  return ip + Number(ipv6![1]);
}

const setMtu = (mtu: string): void => void execFileSync("ip", ["link", "set", "lo", "mtu", mtu, "up"]);

setMtu(mtus[0]!);
const platform = nativePlatform(native!);
const site = new EchoSite(
  createUdpTransport({
    ...platform,
    datagrams: {
      bind: async (at, pollUs) => watched(await platform.datagrams.bind(at, pollUs)),
      connect: async (to, pollUs) => watched(await platform.datagrams.connect(to, pollUs)),
    },
  }),
);
const near = await site.connect(await site.listen(`udp://${host}:0`));
const far = site.endpoints.find((endpoint) => endpoint !== near)!;
far.consume = undefined;
const results: { longest: number; fragmented: number }[] = [];
for (const mtu of mtus) {
  setMtu(mtu);
  const before = fragmented();
  // The first finds out what the path carries now.
  for (let round = 0; round < 2; round++) {
    longest = 0;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      const first = to.frameCount;
      const frames = Array.from({ length: FRAMES }, (_, index) => makeFrame(first + index, 60_000));
      await Promise.all([from.sendAll(frames), to.received(first + FRAMES)]);
    }
  }
  results.push({ longest, fragmented: fragmented() - before });
}
const violations = [...near.violations, ...far.violations];
await site.close();
console.log(JSON.stringify({ results, violations }));
