/**
 * Runs in the page that src/html-report.ts makes, after uPlot: draws the charts, and makes the tables sortable and, where
 * there is a field for it, searchable.
 */
import type UPlot from "uplot";

declare const uPlot: typeof UPlot;

export interface Chart {
  readonly title: string;
  /** The names of the places along x, from left to right. */
  readonly places: readonly string[];
  /** What places and values are. */
  readonly x: string;
  readonly y: string;
  readonly logarithmic: boolean;
  readonly lines: readonly Line[];
}

export interface Line {
  readonly label: string;
  readonly colour: string;
  /** Drawn thick, where others are dashed. */
  readonly strong: boolean;
  /** One for each place; null where there is none. */
  readonly values: readonly (number | null)[];
}

const HEIGHT_PX = 380;
const UNITS: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20 };

for (const element of document.querySelectorAll<HTMLElement>("[data-chart]")) {
  draw(element, JSON.parse(element.dataset["chart"]!) as Chart);
}
for (const table of document.querySelectorAll<HTMLTableElement>("section table")) makeSortable(table);
for (const search of document.querySelectorAll<HTMLInputElement>("input[type=search]")) {
  const table = search.parentElement!.querySelector("table")!;
  search.addEventListener("input", () => showRows(table, search.value));
}

function draw(element: HTMLElement, { title, places, x, y, logarithmic, lines }: Chart): void {
  const ink = getComputedStyle(element).color;
  const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884", width: 1 } };
  const width = () => element.clientWidth;
  const plot = new uPlot(
    {
      title,
      width: width(),
      height: HEIGHT_PX,
      scales: {
        x: { time: false, range: [-0.25, places.length - 0.75] },
        y: { distr: logarithmic ? 3 : 1 },
      },
      axes: [
        {
          ...axis,
          label: x,
          splits: () => [...places.keys()],
          values: (_, at) => at.map((index) => places[index] ?? ""),
        },
        { ...axis, label: y, size: 80, values: (_, at) => at.map((value) => format(value)) },
      ],
      series: [
        { label: x, value: (_, index: number | null) => (index === null ? "" : places[index]!) },
        ...lines.map(({ label, colour, strong }) => ({
          label,
          stroke: colour,
          width: strong ? 2.5 : 1.5,
          ...(strong ? {} : { dash: [6, 4] }),
          points: { show: true, size: 6 },
          value: (_: UPlot, value: number | null) => format(value),
        })),
      ],
    },
    [[...places.keys()], ...lines.map(({ values }) => [...values])],
    element,
  );
  addEventListener("resize", () => plot.setSize({ width: width(), height: HEIGHT_PX }));
}

function format(value: number | null): string {
  if (value === null) return "";
  return value.toLocaleString("en-US", { maximumSignificantDigits: 3 });
}

function makeSortable(table: HTMLTableElement): void {
  const heads = [...table.tHead!.rows[0]!.cells];
  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const ascending = head.ariaSort !== "ascending";
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = ascending ? "ascending" : "descending";
      sortRows(table.tBodies[0]!, column, ascending ? 1 : -1);
    });
  }
}

function sortRows(body: HTMLTableSectionElement, column: number, direction: 1 | -1): void {
  const keyOf = (row: HTMLTableRowElement) => sortKey(row.cells[column]!.textContent);
  const sorted = [...body.rows].sort((a, b) => {
    const [first, second] = [keyOf(a), keyOf(b)];
    const order =
      typeof first === "number" && typeof second === "number"
        ? first - second
        : String(first).localeCompare(String(second));
    return order * direction;
  });
  body.append(...sorted);
}

/** The number that a cell begins with, in the unit that follows it, or its text. */
function sortKey(text: string): number | string {
  const [number, unit] = text.split(" ");
  const value = Number(number!.replaceAll(",", "").replace(/[x%]$/, ""));
  return number === "" || Number.isNaN(value) ? text : value * (UNITS[unit ?? ""] ?? 1);
}

/** Hide the rows that do not hold each of the words. */
function showRows(table: HTMLTableElement, words: string): void {
  const wanted = words.toLowerCase().split(/\s+/);
  for (const row of table.tBodies[0]!.rows) {
    const text = [...row.cells]
      .map((cell) => cell.textContent)
      .join(" ")
      .toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
  }
}
