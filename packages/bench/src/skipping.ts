/** What does not work on a machine is skipped, with the reason: nothing that was measured is lost for it. */
import { withCauses } from "./errors.js";
import type { Skipped } from "./result.js";

/** What is measured, and whatever else says how. */
export type Subject = readonly [implementation: string, transport: string, ...rest: unknown[]];

/** What `measure` makes of each of `subjects`, one after the other. Those that it fails with are added to `skipped`, once for each reason. */
export async function measureEach<S extends Subject, Measured>(
  subjects: readonly S[],
  measure: (subject: S) => Promise<Measured>,
  skipped: Skipped[],
): Promise<Measured[]> {
  const measured: Measured[] = [];
  for (const subject of subjects) {
    try {
      measured.push(await measure(subject));
    } catch (error) {
      const [implementation, transport] = subject;
      const reason = withCauses(error);
      // What does not start is tried again for every measurement.
      const isKnown = skipped.some(
        (one) =>
          one.implementation === implementation && one.transport === transport && one.reason === reason,
      );
      if (!isKnown) skipped.push({ implementation, transport, reason });
    }
  }
  return measured;
}
