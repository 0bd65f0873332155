import { expect } from "chai";
import { chanceApart, median, percentile, summarise } from "@sluice/bench/statistics.js";
import { sliceOf } from "./result.js";

describe("statistics", () => {
  it("takes a percentile from the sample at or above it", () => {
    const sorted = Float64Array.from({ length: 200 }, (_, index) => index + 1);
    expect(percentile(sorted, 0.5)).to.equal(100);
    expect(percentile(sorted, 0.99)).to.equal(198);
    expect(percentile([7], 0.99)).to.equal(7);
  });

  it("takes the middle, or the mean of two", () => {
    expect(median([30, 1, 2])).to.equal(2);
    expect(median([30, 1, 2, 4])).to.equal(3);
  });

  it("summarises slices by medians, keeping outliers in the spread", () => {
    expect(summarise([10, 1000, 20].map(sliceOf))).to.deep.equal({
      callsPerSecond: 20,
      p50Us: 50_000,
      p90Us: 75_000,
      p99Us: 100_000,
      p999Us: 150_000,
      rounds: 3,
      min: { callsPerSecond: 10, p50Us: 1000, p90Us: 1500, p99Us: 2000, p999Us: 3000 },
      max: { callsPerSecond: 1000, p50Us: 100_000, p90Us: 150_000, p99Us: 200_000, p999Us: 300_000 },
    });
  });

  it("knows how often chance keeps two sets apart", () => {
    // 6 ways to choose which 2 of 4 come first; in 2 of them the sets are apart.
    expect(chanceApart(2, 2)).to.be.closeTo(2 / 6, 1e-12);
    expect(chanceApart(3, 3)).to.be.closeTo(2 / 20, 1e-12);
    expect(chanceApart(5, 5)).to.be.closeTo(2 / 252, 1e-12);
    expect(chanceApart(1, 1)).to.equal(1);
  });
});
