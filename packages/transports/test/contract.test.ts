import { memory, tcp, unix } from "@sluice/transports";
import { describeTransport } from "@sluice/transport-contract";
import { freshPath } from "./subjects.js";

let names = 0;
const url = import.meta.resolve("@sluice/transports");

describeTransport("memory", {
  transport: memory,
  address: () => `memory:${names++}`,
  malformed: ["memory:"],
});
describeTransport("unix", {
  transport: unix,
  address: () => `unix:${freshPath()}`,
  module: { url, export: "unix" },
  malformed: ["unix:", "unix:@", `unix:/${"a".repeat(107)}`, "unix:/a\0b"],
});
describeTransport("tcp", {
  transport: tcp,
  address: () => "tcp://127.0.0.1:0",
  module: { url, export: "tcp" },
  malformed: [
    "tcp:",
    "tcp://127.0.0.1",
    "tcp://:80",
    "tcp://[127.0.0.1]:80",
    "tcp://::1:80",
    "tcp://h:65536",
  ],
});
