import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { chromium, type Browser, type Page } from "playwright-core";
import { charts, htmlReport } from "@sluice/bench/html-report.js";
import { defaultScenarios } from "@sluice/bench/scenarios.js";
import { resultOf } from "./result.js";

const BROWSERS = ["chromium-headless-shell", "chromium", "google-chrome"];

const result = resultOf(defaultScenarios(), ({ bytes, inFlight }) => [1e6 / bytes, (2e6 / bytes) * inFlight]);
const page = htmlReport({ ...result, command: `--only "<script>alert('no')</script>" & more` });

describe("the report in HTML", () => {
  it("needs nothing but itself, and takes no text for markup", () => {
    expect(page).not.to.match(/(?:src|href)\s*=\s*"/);
    expect(page).to.contain("&lt;script&gt;alert('no')&lt;/script&gt;&quot; &amp; more");
  });

  it("charts latency, throughput, tails and polling, each line with a value where there is a row", () => {
    const titles = charts(result).map(({ title }) => title);
    expect(titles).to.include.members([
      "Calls, Sluice and peers: latency by size, 1 in flight",
      "Calls, Sluice's transports: throughput by number in flight, 64 B",
      "Without calls: tail, 64 B, 64 in flight",
      "Polling: CPU time of both processes",
    ]);
    const [latency] = charts(result);
    expect(latency.places).to.deep.equal(["64 B", "1 KiB", "64 KiB", "1 MiB"]);
    const grpc = latency.lines.find(({ label }) => label === "grpc-js unix")!;
    const p50s = result.rows
      .filter((row) => row.implementation === "grpc-js" && row.kind === "unary" && row.inFlight === 1)
      .map(({ p50Us }) => p50Us);
    expect(grpc.values).to.deep.equal(p50s);
    expect(charts({ ...result, rows: [], polling: [] })).to.deep.equal([]);
  });

  describe("in a browser", function () {
    this.timeout(60_000);
    const directory = mkdtempSync(join(tmpdir(), "sluice-report-"));
    let browser: Browser | undefined;
    let opened: Page;
    const errors: string[] = [];

    before(async function () {
      const executable = BROWSERS.flatMap((name) =>
        process.env["PATH"]!.split(delimiter).map((folder) => join(folder, name)),
      ).find(existsSync);
      if (executable === undefined) {
        console.log(`    skipped: none of ${BROWSERS.join(", ")} is installed`);
        return this.skip();
      }
      const path = join(directory, "report.html");
      writeFileSync(path, page);
      // Root, as in many containers, has no sandbox.
      const args = process.getuid!() === 0 ? ["--no-sandbox"] : [];
      browser = await chromium.launch({ executablePath: executable, args });
      opened = await browser.newPage();
      opened.on("pageerror", (error) => errors.push(error.message));
      opened.on("console", (message) => errors.push(message.text()));
      opened.on("request", (request) => {
        if (!request.url().startsWith("file:")) errors.push(`asked for ${request.url()}`);
      });
      await opened.goto(pathToFileURL(path).href);
    });

    after(async () => {
      await browser?.close();
      rmSync(directory, { recursive: true });
    });

    afterEach(() => {
      expect(errors).to.deep.equal([]);
    });

    it("draws every chart, in the colour of each line", async () => {
      const expected = charts(result);
      expect(await opened.locator("canvas").count()).to.equal(expected.length);
      const colours = await opened.locator("canvas").evaluateAll((canvases) =>
        canvases.map((canvas) => {
          const { width, height } = canvas as HTMLCanvasElement;
          const { data } = (canvas as HTMLCanvasElement).getContext("2d")!.getImageData(0, 0, width, height);
          const saturated = new Set<number>();
          for (let at = 0; at < data.length; at += 4) {
            const [red, green, blue, alpha] = data.subarray(at, at + 4) as unknown as number[];
            if (alpha === 255 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) {
              saturated.add((red << 16) | (green << 8) | blue);
            }
          }
          return saturated.size;
        }),
      );
      for (const [index, { lines, title }] of expected.entries()) {
        expect(colours[index], title).to.be.at.least(lines.length);
        expect(lines, title).not.to.be.empty;
      }
      const names = await opened.locator("figure").first().locator(".u-legend .u-label").allTextContents();
      expect(names).to.deep.equal(["size", ...expected[0].lines.map(({ label }) => label)]);
    });

    it("sorts a table by a column, one way and the other", async () => {
      const section = opened.locator("section", { has: opened.getByRole("searchbox") });
      const head = section.getByRole("columnheader", { name: "calls/s" });
      const column = async () =>
        (await section.locator("tbody tr td:nth-child(6)").allTextContents()).map((text) =>
          Number(text.replaceAll(",", "")),
        );
      const ascending = (await column()).sort((a, b) => a - b);
      await head.getByRole("button").click();
      expect(await head.getAttribute("aria-sort")).to.equal("ascending");
      expect(await column()).to.deep.equal(ascending);
      await head.getByRole("button").click();
      expect(await column()).to.deep.equal(ascending.reverse());

      await section.getByRole("columnheader", { name: "size" }).getByRole("button").click();
      const sizes = await section.locator("tbody tr td:nth-child(4)").allTextContents();
      expect([...new Set(sizes)]).to.deep.equal(["64 B", "1 KiB", "64 KiB", "1 MiB"]);
    });

    it("shows the rows with the words that are searched", async () => {
      const search = opened.getByRole("searchbox");
      await search.fill("ZEROMQ mib");
      const rows = opened.locator("section", { has: search }).locator("tbody tr:visible");
      expect(await rows.count()).to.be.above(0);
      for (const text of await rows.allTextContents()) expect(text).to.match(/^zeromq.*MiB/);
      await search.fill("");
      expect(await rows.count()).to.equal(result.rows.length);
    });
  });
});
