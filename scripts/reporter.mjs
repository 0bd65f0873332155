/**
 * mocha's own `spec` reporter, which also writes the totals, and each failure with its reason, to the file in the `totals`
 * reporter option.
 */
import { writeFileSync } from "node:fs";
import mocha from "mocha";

export default class TotalsReporter extends mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const failed = [];
    runner.on("fail", (test, error) => failed.push(`${test.fullTitle()}\n${error?.stack ?? error}`));
    runner.once("end", () => {
      // What mocha counts as failures are failed tests and failed hooks.
      const { passes, failures, pending } = this.stats;
      writeFileSync(options.reporterOption.totals, JSON.stringify({ passes, failures, pending, failed }));
    });
  }
}
