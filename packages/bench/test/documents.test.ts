import { expect } from "chai";
import { DOCUMENTS, fillDocument, PUBLISHED_RESULT, readDocument } from "@sluice/bench/documents.js";
import { markdownTable } from "@sluice/bench/report.js";
import type { BenchResult } from "@sluice/bench/result.js";
import { quickScenarios } from "@sluice/bench/scenarios.js";
import { resultOf } from "./result.js";

describe("the documents", () => {
  const published = JSON.parse(readDocument(PUBLISHED_RESULT)) as BenchResult;
  const udp = (inside: string) => `before\n<!-- figures: udp -->\n${inside}<!-- end of figures -->\nafter\n`;

  for (const path of DOCUMENTS) {
    it(`show the figures of the published run: ${path}`, () => {
      const text = readDocument(path);
      expect(text).to.contain("<!-- figures: ");
      expect(fillDocument(text, published), "npm run bench -- --from FILE --publish").to.equal(text);
    });
  }

  it("get a table in the place of the one that was there, and keep the rest", () => {
    const filled = fillDocument(udp("\nan old table\n\n"), published);
    expect(filled).to.match(/^before\n<!-- figures: udp -->\n\n\| message, calls in flight \|/);
    expect(filled).to.match(/\| 1 MiB, 16 .* \|\n\n<!-- end of figures -->\nafter\n$/);
    expect(filled).not.to.contain("an old table");
    expect(fillDocument(filled, published)).to.equal(filled);
  });

  it("are not made of a run that lacks what they show", () => {
    const quick = resultOf(quickScenarios(), () => [1000]);
    expect(() => fillDocument(udp(""), quick)).to.throw("the result has no sluice/udp/unary/1024/64");
  });

  it("are refused where their comments are wrong", () => {
    const wrong = (text: string, why: string) => expect(() => fillDocument(text, published)).to.throw(why);
    wrong(
      "<!-- figures: weather -->\n<!-- end of figures -->",
      'there is no table "weather"; there are report,',
    );
    wrong("<!-- figures: udp -->\n", '"udp" has no end: <!-- end of figures -->');
    wrong("<!-- figures: udp -->\n<!-- figures: udp -->\n", '"udp" has no end before "udp" begins');
    wrong("<!-- end of figures -->\n", "ends nothing");
  });

  it("have tables whose columns are under each other", () => {
    expect(
      markdownTable(
        ["what", "n"],
        [
          ["one", "12,345"],
          ["another", "1"],
        ],
        1,
      ),
    ).to.equal(
      [
        "| what    |      n |",
        "| ------- | -----: |",
        "| one     | 12,345 |",
        "| another |      1 |",
        "",
      ].join("\n"),
    );
  });
});
