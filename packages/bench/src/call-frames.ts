/** What V8's profiles say of functions, summed up and shown. */
import { fileURLToPath } from "node:url";
import Table from "cli-table3";

/** A function, and where it begins (lines count from 0); of V8's own, only its name. */
export interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

export function describe({ functionName, url, lineNumber }: CallFrame): string {
  const name = functionName || "(anonymous)";
  if (url === "") return name;
  const path = url.startsWith("file://") ? fileURLToPath(url) : url;
  return `${name}  ${path.split("/").slice(-4).join("/")}:${lineNumber + 1}`;
}

export function add<Key>(sums: Map<Key, number>, key: Key, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value);
}

type Sums = readonly (readonly [name: string, value: number])[];

/** The greatest first. */
export function sorted(sums: Iterable<readonly [string, number]>): Sums {
  return [...sums].sort(([, a], [, b]) => b - a);
}

/** A row for each sum: its `figures`, of which there are two, and its name. */
export function table(head: string[], sums: Sums, figures: (value: number) => string[]): string {
  const rows = new Table({
    head,
    colAligns: ["right", "right", "left"],
    style: { head: [], border: [], compact: true },
  });
  rows.push(...sums.map(([name, value]) => [...figures(value), name]));
  return rows.toString();
}
