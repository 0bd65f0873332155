/** A result as one page that needs nothing else: charts, by uPlot, and tables. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Chart, Line } from "../page/report.js";
import { formatBytes, provenance, sections, type Section } from "./report.js";
import type { BenchResult, Row } from "./result.js";

const require = createRequire(import.meta.url);

export function htmlReport(result: BenchResult): string {
  const about = provenance(result).trim().split("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Sluice and its peers, measured</title>
<style>
${readFileSync(require.resolve("uplot/dist/uPlot.min.css"), "utf8")}
${STYLE}
</style>
</head>
<body>
<h1>Sluice and its peers, measured</h1>
${about.map((line) => `<p>${escapeHtml(line).replace(/`([^`]*)`/g, "<code>$1</code>")}</p>`).join("\n")}
<h2>Charts</h2>
<p>Medians over the repetitions. A click on a name in a legend hides its line, or shows it again; what is at the pointer
stands beside the names. Sluice's lines are solid, all others dashed.</p>
<div class="charts">
${charts(result)
  .map((chart) => `<figure data-chart="${escapeHtml(JSON.stringify(chart))}"></figure>`)
  .join("\n")}
</div>
<h2>Tables</h2>
<p>A click on the head of a column sorts by it; another turns the order round.</p>
${sections(result).map(tableSection).join("\n")}
<h2>Method</h2>
${METHOD}
<script>
${readFileSync(require.resolve("uplot/dist/uPlot.iife.min.js"), "utf8")}
</script>
<script type="module">
${readFileSync(new URL("./page/report.js", import.meta.url), "utf8")}
</script>
</body>
</html>
`;
}

/** What the rows have to say about latency and throughput, by size and by calls in flight; and what polling costs. */
export function charts(result: BenchResult): Chart[] {
  const names = [...new Set(result.rows.map(nameOf))];
  const colourOf = (name: string) => `hsl(${Math.round(names.indexOf(name) * GOLDEN_ANGLE) % 360} 65% 45%)`;

  /** A line for each transport of each implementation in `rows`. */
  const chart = (
    about: Omit<Chart, "lines" | "logarithmic">,
    rows: readonly Row[],
    values: (own: readonly Row[]) => (number | null)[],
  ): Chart => ({
    ...about,
    logarithmic: true,
    lines: [...new Set(rows.map(nameOf))].map((label): Line => {
      const own = rows.filter((row) => nameOf(row) === label);
      return {
        label,
        colour: colourOf(label),
        strong: own[0].implementation === "sluice",
        values: values(own),
      };
    }),
  });
  const along = (
    axis: Axis,
    title: string,
    y: string,
    rows: readonly Row[],
    figure: (row: Row) => number,
  ) => {
    const places = [...new Set(result.rows.map(axis.of))].sort((a, b) => a - b);
    return chart({ title, x: axis.name, y, places: places.map(axis.format) }, rows, (own) =>
      places.map((place) => {
        const row = own.find((row) => axis.of(row) === place);
        return row === undefined ? null : figure(row);
      }),
    );
  };

  const all = GROUPS.flatMap(({ title, of }) => {
    const rows = result.rows.filter(of);
    const small = rows.filter(({ bytes }) => bytes === 64);
    const single = rows.filter(({ inFlight }) => inFlight === 1);
    const many = rows.filter(({ inFlight, bytes }) => inFlight === (bytes < 2 ** 20 ? 64 : 16));
    const latency = ({ p50Us }: Row) => p50Us;
    const throughput = ({ callsPerSecond }: Row) => callsPerSecond;
    return [
      along(SIZE, `${title}: latency by size, 1 in flight`, "p50, us", single, latency),
      along(SIZE, `${title}: throughput by size, 64 in flight (1 MiB: 16)`, "a second", many, throughput),
      along(IN_FLIGHT, `${title}: throughput by number in flight, 64 B`, "a second", small, throughput),
      chart(
        {
          title: `${title}: tail, 64 B, 64 in flight`,
          x: "percentile",
          y: "us",
          places: ["50", "90", "99", "99.9"],
        },
        small.filter(({ inFlight }) => inFlight === 64),
        ([{ p50Us, p90Us, p99Us, p999Us }]) => [p50Us, p90Us, p99Us, p999Us],
      ),
    ];
  });
  return [...all, ...pollingCharts(result)].filter(({ lines }) => lines.length > 0);
}

/** What a chart has a place for each value of, from left to right. */
interface Axis {
  readonly name: string;
  of(row: Row): number;
  format(value: number): string;
}
const SIZE: Axis = { name: "size", of: ({ bytes }) => bytes, format: formatBytes };
const IN_FLIGHT: Axis = { name: "in flight", of: ({ inFlight }) => inFlight, format: String };

function pollingCharts({ polling }: BenchResult): Chart[] {
  const gaps = [...new Set(polling.flatMap(({ paced }) => paced.map(({ gapMs }) => gapMs)))];
  const lines = (values: (result: BenchResult["polling"][number]) => (number | null)[]): Line[] =>
    polling.map((result, index) => ({
      label: nameOf(result),
      colour: `hsl(${index * 140} 65% 45%)`,
      strong: true,
      values: values(result),
    }));
  const places = gaps.map((gapMs) => `a call every ${gapMs} ms`);
  return [
    {
      ...{ title: "Polling: CPU time of both processes", x: "load", y: "% of one CPU", logarithmic: false },
      places: [...places, "idle"],
      lines: lines(({ paced, idleCpuPercent }) => [
        ...paced.map(({ cpuPercent }) => cpuPercent),
        idleCpuPercent,
      ]),
    },
    {
      ...{ title: "Polling: latency of calls with pauses", x: "load", y: "p50, us", logarithmic: false },
      places,
      lines: lines(({ paced }) => paced.map(({ p50Us }) => p50Us)),
    },
  ];
}

/** Lines of one chart: too many are not to be told apart. */
const GROUPS: readonly { title: string; of: (row: Row) => boolean }[] = [
  {
    title: "Calls, Sluice and peers",
    of: ({ kind, implementation, transport }) =>
      kind === "unary" && (implementation !== "sluice" || ["shm", "unix", "tcp"].includes(transport)),
  },
  {
    title: "Calls, Sluice's transports",
    of: ({ kind, implementation }) => kind === "unary" && implementation === "sluice",
  },
  { title: "Without calls", of: ({ kind }) => kind === "echo" },
];

/** In degrees: turning by it again and again, one comes near no colour that was there before. */
const GOLDEN_ANGLE = 137.5;

function nameOf({ implementation, transport }: { implementation: string; transport: string }): string {
  return `${implementation} ${transport}`;
}

function tableSection({ title, head, body, words, searchable }: Section): string {
  const row = (cells: readonly string[], tag: "th" | "td") => {
    const written = cells.map(
      (cell, index) => `<${tag}${index < words ? "" : ' class="figure"'}>${escapeHtml(cell)}</${tag}>`,
    );
    return `<tr>${written.join("")}</tr>`;
  };
  return `<section>
<h3>${escapeHtml(title)}</h3>
${searchable ? SEARCH : ""}
<table>
<thead>${row(head, "th")}</thead>
<tbody>
${body.map((cells) => row(cells, "td")).join("\n")}
</tbody>
</table>
</section>`;
}

const SEARCH = `<input type="search" placeholder="only rows with these words, such as: shm unary" aria-label="Search rows">`;

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character]);
}

const METHOD = `<ul>
<li>Server and client are processes of their own, each pinned to a CPU unless a table says otherwise. All are started first and
kept; only those of the scenario that is being timed have anything to do.</li>
<li>After a warm-up, which is thrown away, each round times a short slice of every scenario, one after the other, so that
whatever else the machine does meets them all alike; every second round goes backwards. Figures are medians over the rounds,
beside the least and the greatest; no slice is left out.</li>
<li><i>In flight</i> is how many calls are under way at any time: each of so many loops makes its next call when the last one
has returned. Latencies are kept one by one, and percentiles are exact. A slice begins with untimed load, and holds at least
three times as many calls as are in flight.</li>
<li>In the timed part only the length of what comes back is checked. After each slice, outside it, calls with random bodies
are compared byte for byte.</li>
<li>Peers are used as their documentation says, at the settings that made them fastest, with the same payload, and with the same
protobuf message where they take one. <i>echo</i> rows have no calls: they are what the mechanism itself can do, in Node
or, for <i>c++</i>, without it.</li>
<li>CPU time and memory are what the kernel counts: <code>/proc/PID/stat</code>, and PSS of <code>/proc/PID/smaps_rollup</code>. The
memory of a call in flight is what V8 uses for it after a collection.</li>
</ul>`;

const STYLE = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 90rem; margin: 2rem auto; padding: 0 1rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(36rem, 100%), 1fr)); gap: 2rem; }
.charts figure { margin: 0; min-width: 0; }
section { overflow-x: auto; }
section table { border-collapse: collapse; font-size: 0.875rem; }
section table :is(th, td) { padding: 0.2rem 0.6rem; border-bottom: 1px solid #8884; text-align: left; }
section table .figure { text-align: right; font-variant-numeric: tabular-nums; }
th button { all: unset; cursor: pointer; font-weight: bold; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort="ascending"] button::after { content: " \\25B2"; }
th[aria-sort="descending"] button::after { content: " \\25BC"; }
input { font: inherit; width: min(30rem, 100%); margin-bottom: 0.5rem; }
.u-title { font-size: 1rem; }
.u-legend { text-align: left; font-size: 0.8rem; }`;
