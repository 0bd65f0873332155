/** A network namespace beside this one, joined to it by a link that loses packets. */
import { execFileSync, spawnSync } from "node:child_process";

/** What the link loses in each direction, and carries. */
const LOSS_PERCENT = 5;
const RATE = "200mbit";

/** Why no such network can be made here; undefined if it can. */
export const namespaceUnavailable = whyNot();

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const [command, ...args] of [
    ["ip", "-Version"],
    ["nft", "--version"],
    ["unshare", "--net", "true"],
  ] as const) {
    if (spawnSync(command, args).status !== 0)
      return `network namespaces need \`${command}\`, which fails here`;
  }
  return undefined;
}

export interface LossyNamespace {
  /** IP addresses at the ends of the link: in this namespace, and in the other. */
  readonly near: string;
  readonly far: string;
  /** The command that runs another in it. */
  readonly through: readonly string[];
}

let made: LossyNamespace | undefined;

/** The one namespace of this process. Made when first asked for; removed when the process ends. */
export function lossyNamespace(): LossyNamespace {
  if (made !== undefined) return made;
  const name = `sluice-${process.pid}`;
  // RFC 2544 sets 198.18.0.0/15 aside for tests; names of interfaces have 15 bytes at most.
  const network = (process.pid % 0x7fff) * 4;
  const address = (host: number): string => {
    const value = network + host;
    return `198.${18 + (value >> 16)}.${(value >> 8) & 0xff}.${value & 0xff}`;
  };
  const device = `sl${process.pid}`;
  const run = (...command: string[]): void => void execFileSync(command[0]!, command.slice(1));
  const inside = ["ip", "netns", "exec", name];
  run("ip", "netns", "add", name);
  process.once("exit", () => run("ip", "netns", "del", name));
  run("ip", "link", "add", device, "type", "veth", "peer", "name", "far", "netns", name);
  run("ip", "addr", "add", `${address(1)}/30`, "dev", device);
  run("ip", "link", "set", device, "up");
  run(...inside, "ip", "addr", "add", `${address(2)}/30`, "dev", "far");
  run(...inside, "ip", "link", "set", "far", "up");
  const shape = ["tbf", "rate", RATE, "burst", "64kb", "latency", "20ms"];
  run("tc", "qdisc", "add", "dev", device, "root", ...shape);
  run(...inside, "tc", "qdisc", "add", "dev", "far", "root", ...shape);
  run(...inside, "nft", "add", "table", "ip", "loss");
  for (const hook of ["input", "output"]) {
    run(...inside, "nft", "add", "chain", "ip", "loss", hook, `{ type filter hook ${hook} priority 0; }`);
    const drop = ["numgen", "random", "mod", "100", "<", String(LOSS_PERCENT), "drop"];
    run(...inside, "nft", "add", "rule", "ip", "loss", hook, ...drop);
  }
  return (made = { near: address(1), far: address(2), through: inside });
}
