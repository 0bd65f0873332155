import { randomInt } from "node:crypto";
import { auto, memory, nativeTransports, tls } from "@sluice/transports";
import { describeConnection, describeTransport } from "@sluice/transport-contract";
import { certificate } from "./certificates.js";
import { freshPath, pipePair } from "./subjects.js";
import { variants } from "./variants.js";

const url = import.meta.resolve("@sluice/transports");
let names = 0;

describeTransport("memory", {
  transport: memory,
  address: () => `memory:${names++}`,
  malformed: ["memory:"],
});

const localhost = await certificate("localhost", { names: ["127.0.0.1"] });

describeTransport("tls", {
  transport: tls,
  address: () => "tls://127.0.0.1:0",
  options: { ...localhost, ca: localhost.cert },
  module: { url, export: "tls" },
  polls: nativeTransports !== undefined,
  malformed: ["tls:", "tls://127.0.0.1", "tls://[::1]", "tls://127.0.0.1:65536"],
});

describeTransport("auto", {
  transport: auto,
  address: () => `auto:${names++}`,
  module: { url, export: "auto" },
  polls: nativeTransports !== undefined,
  // Of shared memory, which it takes where there is any.
  largeFrames: nativeTransports !== undefined,
  malformed: ["auto:", "auto:a/b", "auto:..", "auto:a\0b", `auto:${"a".repeat(107)}`],
  delegates: true,
});

for (const { name, transports } of variants) {
  const { pipe, tcp, udp, unix, shm, mmap, fifo, mq, sysvmq } = transports;

  describeConnection(`pipe (${name})`, () => pipePair(pipe));

  describeTransport(`unix, path (${name})`, {
    transport: unix,
    address: () => `unix:${freshPath()}`,
    module: { url, export: `${name}Transports.unix` },
    polls: name === "native",
    malformed: ["unix:", "unix:@", `unix:/${"a".repeat(107)}`, "unix:/a\0b"],
  });

  if (name === "native") {
    describeTransport(`unix, abstract name (${name})`, {
      transport: unix,
      address: () => `unix:@sluice-test-${process.pid}-${names++}`,
      module: { url, export: `${name}Transports.unix` },
      polls: true,
      malformed: [`unix:@${"a".repeat(108)}`],
    });

    describeTransport("shm", {
      transport: shm,
      address: () => `shm:${freshPath(".shm")}`,
      module: { url, export: "nativeTransports.shm" },
      polls: true,
      largeFrames: true,
      malformed: ["shm:", "shm:a/b", "shm:..", `shm:/${"a".repeat(107)}`, "shm:/a\0b"],
    });

    describeTransport("mmap", {
      transport: mmap,
      address: () => `mmap:${freshPath(".mmap")}`,
      module: { url, export: "nativeTransports.mmap" },
      polls: true,
      malformed: ["mmap:", `mmap:/${"a".repeat(107)}`, "mmap:/a\0b"],
    });

    describeTransport("fifo", {
      transport: fifo,
      address: () => `fifo:${freshPath(".fifo")}`,
      module: { url, export: "nativeTransports.fifo" },
      polls: true,
      malformed: ["fifo:", "fifo:/", `fifo:/${"a".repeat(256)}`, "fifo:/a\0b"],
    });
  }

  if (name === "native") {
    describeTransport("mq", {
      transport: mq,
      address: () => `mq:/sluice-test-${process.pid}-${names++}`,
      module: { url, export: "nativeTransports.mq" },
      polls: true,
      malformed: ["mq:", "mq:name", "mq:/", "mq:/a/b", "mq:/..", `mq:/${"a".repeat(256)}`, "mq:/a\0b"],
      noticesDeath: true,
      maxConnections: 20,
    });
  }

  if (name === "native") {
    describeTransport("sysvmq", {
      transport: sysvmq,
      address: () => `sysvmq:${randomInt(1, 2 ** 31)}`,
      module: { url, export: "nativeTransports.sysvmq" },
      polls: true,
      malformed: ["sysvmq:", "sysvmq:0", "sysvmq:-1", "sysvmq:name", "sysvmq:1.5", "sysvmq:0x100000000"],
      noticesDeath: true,
    });
  }

  for (const host of ["127.0.0.1", "[::1]"]) {
    describeTransport(`tcp, ${host} (${name})`, {
      transport: tcp,
      address: () => `tcp://${host}:0`,
      module: { url, export: `${name}Transports.tcp` },
      polls: name === "native",
      malformed: [
        "tcp:",
        "tcp://127.0.0.1",
        "tcp://:80",
        "tcp://[127.0.0.1]:80",
        "tcp://::1:80",
        "tcp://127.0.0.1:65536",
      ],
    });
  }

  const secret = "5e".repeat(32);
  const forms: [what: string, host: string, options: object][] = [["udp", "127.0.0.1", {}]];
  if (name === "native") forms.push(["udp, with a secret", "127.0.0.1", { secret }], ["udp", "[::1]", {}]);
  for (const [what, host, options] of forms) {
    describeTransport(`${what}, ${host} (${name})`, {
      transport: udp,
      address: () => `udp://${host}:0`,
      // Without the addon a server learns of its clients' death by their silence alone.
      options: { idleTimeoutMs: 2000, ...options },
      module: { url, export: `${name}Transports.udp` },
      polls: name === "native",
      malformed: ["udp:", "udp://127.0.0.1", "udp://:80", "udp://::1:80", "udp://127.0.0.1:65536"],
    });
  }
}
