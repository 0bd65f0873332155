import { expect } from "chai";
import { median, percentile, summarise, type Slice } from "@sluice/bench/statistics.js";

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
    const slice = (callsPerSecond: number, p50Us: number, p99Us: number): Slice => ({
      calls: 1,
      callsPerSecond,
      p50Us,
      p99Us,
    });
    expect(summarise([slice(10, 5, 9), slice(1000, 1, 2), slice(20, 4, 80)])).to.deep.equal({
      callsPerSecond: 20,
      p50Us: 4,
      p99Us: 9,
      rounds: 3,
      min: { callsPerSecond: 10, p50Us: 1, p99Us: 2 },
      max: { callsPerSecond: 1000, p50Us: 5, p99Us: 80 },
    });
  });
});
