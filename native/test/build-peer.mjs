/** Builds peer/ring_peer.cc, the C++ end of a ring that JavaScript is tested against. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** The program's path. Throws if there is no C++20 compiler. */
export function buildPeer() {
  const output = join(here, "../build/test");
  const program = join(output, `ring-peer.${process.pid}`);
  mkdirSync(output, { recursive: true });
  const flags = ["-std=c++20", "-O1", "-g", "-fsanitize=address,undefined", "-Wall", "-Wextra", "-Werror"];
  execFileSync(process.env.CXX ?? "g++", [...flags, join(here, "peer/ring_peer.cc"), "-o", program], {
    stdio: "pipe",
  });
  return program;
}
