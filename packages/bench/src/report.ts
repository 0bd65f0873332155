/** A result, or a comparison of two, as text: tables for a terminal, or for a page in markdown. */
import Table from "cli-table3";
import { bars } from "./bars.js";
import { MIN_CHANGE, type Comparison } from "./compare.js";
import type { BenchResult, Row } from "./result.js";

/** One table. */
export interface Section {
  readonly title: string;
  readonly head: readonly string[];
  readonly body: readonly (readonly string[])[];
  /** How many of the first columns are words; the others are figures, set to the right. */
  readonly words: number;
  /** Long enough to be searched, where that can be done. */
  readonly searchable?: true;
}

/** `colour`: whether whoever shows the text understands ANSI escapes. */
export function terminalReport(result: BenchResult, colour: boolean): string {
  return terminalTables(sections(result), colour);
}

export function terminalTables(sections: readonly Section[], colour: boolean): string {
  return sections
    .map(({ title, head, body, words }) => {
      const table = new Table({
        head: [...head],
        colAligns: head.map((_, index) => (index < words ? "left" : "right")),
        style: { head: colour ? ["bold"] : [], border: colour ? ["gray"] : [], compact: true },
      });
      table.push(...body.map((cells) => [...cells]));
      return `${title}\n${table.toString()}\n`;
    })
    .join("\n");
}

/** What changed, and how far that is to be believed. `print` makes the tables. */
export function comparisonReport(
  { changes, undecided, chance, machine, differences }: Comparison,
  print: (sections: readonly Section[]) => string,
): string {
  if (changes.length === 0) return "The two runs have no scenario in common.\n";
  const changed = changes.filter((change) => change.changed.length > 0);
  const controls = changes.filter(({ control }) => control);
  const section: Section = {
    title: `Changed: ${changed.length} of ${changes.length} scenarios`,
    head: ["scenario", "calls/s before", "now", "", "p50 us before", "now", "", "p99 us before", "now", ""],
    body: changed.map(({ id, before, after, changed }) => [
      id,
      ...(["callsPerSecond", "p50Us", "p99Us"] as const).flatMap((figure) => {
        const format = figure === "callsPerSecond" ? formatCount : formatUs;
        const percent = (after[figure] / before[figure] - 1) * 100;
        return [
          format(before[figure]),
          format(after[figure]),
          changed.includes(figure) ? `${percent < 0 ? "" : "+"}${percent.toFixed(0)} %` : "",
        ];
      }),
    ]),
    words: 1,
  };
  const notes = [
    ...differences,
    ...(undecided === 0
      ? []
      : [`${undecided} scenarios have too few repetitions to tell a change from chance: use --rounds.`]),
    `A change is called so where no repetition of one run is within the range of the other, and the medians differ by ${MIN_CHANGE * 100} % or more. By chance alone that befalls a figure in ${(chance * 100).toFixed(1)} % of cases, if nothing but chance is at work.`,
    machine === undefined
      ? "Nothing that is the same in both runs was measured, so a change of the machine would look like one of the code."
      : `Of ${controls.length} scenarios of the same peers and limits, ${controls.filter(({ changed }) => changed.length > 0).length} changed, and their calls/s are ${(machine * 100).toFixed(0)} % of before: so much is the machine's.`,
  ];
  return `${changed.length > 0 ? print([section]) : "Nothing changed beyond noise.\n"}\n${notes.map((note) => `- ${note}\n`).join("")}`;
}

export function markdownReport(result: BenchResult): string {
  return `${provenance(result)}\n${markdownTables(sections(result))}`;
}

export function markdownTables(sections: readonly Section[]): string {
  return sections
    .map(({ title, head, body, words }) => `### ${title}\n\n${markdownTable(head, body, words)}`)
    .join("\n");
}

/** Its columns are set under each other, as Prettier does. */
export function markdownTable(
  head: readonly string[],
  body: readonly (readonly string[])[],
  words: number,
): string {
  const widths = head.map((cell, column) =>
    Math.max(3, ...[cell, ...body.map((row) => row[column])].map(({ length }) => length)),
  );
  const line = (cells: readonly string[]) => {
    const padded = cells.map((cell, column) =>
      column < words ? cell.padEnd(widths[column]) : cell.padStart(widths[column]),
    );
    return `| ${padded.join(" | ")} |\n`;
  };
  const rule = widths.map((width, column) =>
    column < words ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  return [head, rule, ...body].map(line).join("");
}

/** When, where and with what the result was made: a line each. */
export function provenance({ command, date, machine, placement, versions }: BenchResult): string {
  const packages = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return (
    [
      `\`npm run bench -- ${command}\`, begun ${date}.`,
      `${machine.cpus} CPUs (${machine.cpu}), ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB, ${machine.kernel}; load average before: ${machine.loadAverage.toFixed(2)}.`,
      placement === null
        ? "Processes not pinned."
        : `Servers pinned to CPU ${placement.serverCpu}, clients to CPU ${placement.clientCpu}.`,
      `${packages.join(", ")}.`,
    ].join("\n") + "\n"
  );
}

/** Every table that has a row. */
export function sections(result: BenchResult): Section[] {
  const all: Section[] = [
    {
      title: "Goals",
      head: ["what", "goal", "measured", "met"],
      body: bars(result).map(({ what, goal, measured, met }) => [what, goal, measured, met ? "yes" : "no"]),
      words: 2,
    },
    {
      title: "Calls, echoes and streams",
      head: ["implementation", "transport", "kind", "size", "in flight", ...FIGURES],
      body: result.rows.map((row) => [
        row.implementation,
        row.transport,
        row.kind,
        formatBytes(row.bytes),
        String(row.inFlight),
        ...figures(row),
      ]),
      words: 3,
      searchable: true,
    },
    {
      title: "Call options",
      head: ["option", "transport", "size", "in flight", ...FIGURES, "cost"],
      body: result.callOptions.map((row) => [
        row.option,
        row.transport,
        formatBytes(row.bytes),
        String(row.inFlight),
        ...figures(row),
        `${row.costPercent.toFixed(1)} %`,
      ]),
      words: 2,
    },
    {
      title: "Calls over several connections",
      head: ["implementation", "transport", "size", "in flight", "connections", ...FIGURES, "cost"],
      body: result.connections.map((row) => [
        row.implementation,
        row.transport,
        formatBytes(row.bytes),
        formatCount(row.inFlight),
        formatCount(row.connections),
        ...figures(row),
        `${row.costPercent.toFixed(1)} %`,
      ]),
      words: 2,
    },
    {
      title: "Not pinned to CPUs",
      head: ["implementation", "transport", "size", "in flight", ...FIGURES, "cost"],
      body: result.unpinned.map((row) => [
        row.implementation,
        row.transport,
        formatBytes(row.bytes),
        formatCount(row.inFlight),
        ...figures(row),
        `${row.costPercent.toFixed(1)} %`,
      ]),
      words: 2,
    },
    {
      title: "Idle connections",
      head: [
        "implementation",
        "transport",
        "connections",
        "PSS before",
        "PSS",
        "a connection",
        "and client",
        "CPU",
      ],
      body: result.idle.map((idle) => [
        idle.implementation,
        idle.transport,
        formatCount(idle.connections),
        `${(idle.emptyPssBytes / 2 ** 20).toFixed(0)} MiB`,
        `${(idle.pssBytes / 2 ** 20).toFixed(0)} MiB`,
        `${((idle.pssBytes - idle.emptyPssBytes) / idle.connections / 1024).toFixed(1)} KiB`,
        `${(idle.clientsPssBytes / idle.connections / 1024).toFixed(1)} KiB`,
        `${idle.cpuMs} ms in ${(idle.watchedMs / 1000).toFixed(1)} s`,
      ]),
      words: 2,
    },
    {
      title: "Calls in flight",
      head: [
        ...["implementation", "transport", "calls"],
        ...["V8's memory a call, server", "client", "PSS a call, server", "client"],
      ],
      body: result.held.map((row) => [
        row.implementation,
        row.transport,
        formatCount(row.calls),
        `${formatCount(row.serverBytesPerCall)} B`,
        `${formatCount(row.clientBytesPerCall)} B`,
        `${formatCount(row.serverPssBytesPerCall)} B`,
        `${formatCount(row.clientPssBytesPerCall)} B`,
      ]),
      words: 2,
    },
    {
      title: "Allocated by a call",
      head: [
        ...["implementation", "transport", "end", "size", "in flight"],
        ...["library", "messages", "application"],
      ],
      body: result.allocation.flatMap((row) =>
        (["client", "server"] as const).map((end) => [
          row.implementation,
          row.transport,
          end,
          formatBytes(row.bytes),
          String(row.inFlight),
          `${formatCount(row[end].libraryBytes)} B`,
          `${formatCount(row[end].messageBytes)} B`,
          `${formatCount(row[end].applicationBytes)} B`,
        ]),
      ),
      words: 3,
    },
    {
      title: "From start to first answer",
      head: ["implementation", "transport", "loading", "connecting and first call"],
      body: result.startUp.map((row) => [
        row.implementation,
        row.transport,
        `${row.loadMs.toFixed(1)} ms`,
        `${row.firstCallMs.toFixed(1)} ms`,
      ]),
      words: 2,
    },
    {
      title: "Installed",
      head: ["implementation", "package", "packages", "size"],
      body: result.sizes.map((row) => [
        row.implementation,
        row.packageName,
        String(row.packages),
        `${(row.bytes / 2 ** 20).toFixed(1)} MiB`,
      ]),
      words: 2,
    },
    {
      title: "Polling before sleeping",
      head: ["implementation", "transport", "calls", "p50 us", "p99 us", "CPU of both"],
      body: result.polling.flatMap(({ implementation, transport, paced }) =>
        paced.map(({ gapMs, p50Us, p99Us, cpuPercent }) => [
          implementation,
          transport,
          `one every ${gapMs} ms`,
          formatUs(p50Us),
          formatUs(p99Us),
          `${cpuPercent.toFixed(1)} %`,
        ]),
      ),
      words: 3,
    },
    {
      title: "Beside the calls",
      head: ["implementation", "transport", "idle CPU", "p50 us on one CPU", "10 ms timer p50", "worst"],
      body: result.polling.map((row) => [
        row.implementation,
        row.transport,
        `${row.idleCpuPercent.toFixed(2)} %`,
        formatUs(row.sameCpuP50Us),
        `${row.timerP50Ms.toFixed(1)} ms`,
        `${row.timerMaxMs.toFixed(1)} ms`,
      ]),
      words: 2,
    },
    {
      title: "Skipped",
      head: ["implementation", "transport", "why"],
      body: result.skipped.map(({ implementation, transport, reason }) => [
        implementation,
        transport,
        reason.split("\n")[0],
      ]),
      words: 3,
    },
  ];
  return all.filter(({ body }) => body.length > 0);
}

const FIGURES = ["calls/s", "min to max", "p50 us", "p99 us"];

function figures(row: Row): string[] {
  return [
    formatCount(row.callsPerSecond),
    `${formatCount(row.min.callsPerSecond)} to ${formatCount(row.max.callsPerSecond)}`,
    formatUs(row.p50Us),
    formatUs(row.p99Us),
  ];
}

export function formatCount(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function formatUs(value: number): string {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : formatCount(value);
}

export function formatBytes(bytes: number): string {
  if (bytes >= 2 ** 20) return `${bytes / 2 ** 20} MiB`;
  if (bytes >= 2 ** 10) return `${bytes / 2 ** 10} KiB`;
  return `${bytes} B`;
}
