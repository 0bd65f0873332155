/**
 * The tests that every Sluice transport passes. Call `describeTransport` in a mocha test file:
 *
 *     import { describeTransport } from "@sluice/transport-contract";
 *     describeTransport("carrier", { transport: carrier, address: () => `carrier:${next++}` });
 */
import type { Connection } from "@sluice/core";
import { Fixture, TransportFixture } from "./fixture.js";
import { describeClosing } from "./suite/closing.js";
import { describeListening } from "./suite/listening.js";
import { describeProcesses } from "./suite/processes.js";
import { describeLargeFrames } from "./suite/large-frames.js";
import { describeReceiving } from "./suite/receiving.js";
import { describeSending } from "./suite/sending.js";
import { describeStress } from "./suite/stress.js";
import type { Subject } from "./subject.js";

export { echo } from "./echo.js";
export { Endpoint } from "./endpoint.js";
export { makeFrame } from "./frames.js";
export { Random } from "./random.js";
export type { Subject } from "./subject.js";

/** No single test takes a hundredth of this; it ends those that would wait for ever. */
const TIME_LIMIT_MS = 60_000;

/** Registers the tests of the transport contract with mocha, which must be running (its globals are used). */
export function describeTransport(name: string, subject: Subject): void {
  describe(`transport contract: ${name}`, function () {
    this.timeout(TIME_LIMIT_MS);
    const fixture = new TransportFixture(subject);
    describeConnections(fixture);
    describeLargeFrames(fixture, subject.largeFrames === true);
    describeListening(fixture);
    if (subject.module !== undefined) describeProcesses(fixture, subject.module);
  });
}

/**
 * Registers those of the tests that need no transport: for connections that come in another way. `pair` gives both ends of a
 * new connection, both in this process, not started.
 */
export function describeConnection(name: string, pair: () => Promise<[Connection, Connection]>): void {
  describe(`connection contract: ${name}`, function () {
    this.timeout(TIME_LIMIT_MS);
    describeConnections(new Fixture(pair));
  });
}

function describeConnections(fixture: Fixture): void {
  describeSending(fixture);
  describeReceiving(fixture);
  describeClosing(fixture);
  describeStress(fixture);
}
