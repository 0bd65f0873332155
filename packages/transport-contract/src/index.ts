/**
 * The tests that every Sluice transport passes. Call `describeTransport` in a mocha test file:
 *
 *     import { describeTransport } from "@sluice/transport-contract";
 *     describeTransport("carrier", { transport: carrier, address: () => `carrier:${next++}` });
 */
import { describeClosing } from "./suite/closing.js";
import { describeListening } from "./suite/listening.js";
import { describeProcesses } from "./suite/processes.js";
import { describeReceiving } from "./suite/receiving.js";
import { describeSending } from "./suite/sending.js";
import { describeStress } from "./suite/stress.js";
import type { Subject } from "./subject.js";

export { Endpoint } from "./endpoint.js";
export { makeFrame } from "./frames.js";
export type { Subject } from "./subject.js";

/** Registers the tests of the transport contract with mocha, which must be running (its globals are used). */
export function describeTransport(name: string, subject: Subject): void {
  describe(`transport contract: ${name}`, function () {
    this.timeout(30_000);
    describeSending(subject);
    describeReceiving(subject);
    describeClosing(subject);
    describeListening(subject);
    describeStress(subject);
    if (subject.module !== undefined) describeProcesses(subject, subject.module);
  });
}
