import { expect } from "chai";
import { timeSpent, type CpuProfile } from "@sluice/bench/profile.js";

const BASE = "file:///somewhere/";

/** Each function calls the next; samples are taken 10 us apart, the first 10 us after 1,000. */
function profileOf(stack: readonly (readonly [name: string, url: string])[], samples: number[]): CpuProfile {
  return {
    nodes: [["(root)", ""] as const, ...stack].map(([functionName, url], index) => ({
      id: index,
      callFrame: { functionName, url, lineNumber: index },
      children: index < stack.length ? [index + 1] : [],
    })),
    samples,
    timeDeltas: samples.map(() => 10),
    startTime: 1000,
  };
}

describe("a profile", () => {
  const everything = { fromUs: 0, toUs: Infinity };

  it("is divided into the parts of a call, builtins with whoever calls them", () => {
    const stack = [
      ["processTicksAndRejections", "node:internal/process/task_queues"],
      ["repeat", `${BASE}packages/bench/dist/load.js`],
      ["begin", `${BASE}packages/core/dist/client-call.js`],
      ["open", `${BASE}packages/core/dist/session.js`],
      ["encode", `${BASE}packages/bench/dist/gen/echo.js`],
      ["copy", `${BASE}packages/core/dist/protobuf/copy.js`],
      ["set", ""],
      ["commit", `${BASE}packages/transports/dist/stream/connection.js`],
      ["decode", `${BASE}packages/bench/dist/gen/echo.js`],
      ["write", `${BASE}node_modules/@grpc/grpc-js/build/src/call.js`],
      ["(garbage collector)", ""],
    ] as const;
    const { parts, busyUs } = timeSpent(
      profileOf(
        stack,
        // The last sample has no end: it does not count.
        [...stack.keys(), 0].map((index) => index + 1),
      ),
      everything,
    );
    expect(Object.fromEntries(parts)).to.deep.equal({
      promises: 10,
      "load and handlers": 10,
      calls: 10,
      session: 10,
      encoding: 30,
      transport: 10,
      decoding: 10,
      "@grpc/grpc-js": 10,
      "garbage collection": 10,
    });
    expect(busyUs).to.equal(110);
  });

  it("counts what was sampled in the time that is asked about, without waiting", () => {
    const stack = [
      ["(idle)", ""],
      ["open", `${BASE}packages/core/dist/session.js`],
    ] as const;
    const profile = profileOf(stack, [2, 2, 2, 1, 1, 2, 2]);
    expect(timeSpent(profile, everything).busyUs).to.equal(40);
    // Sampled at 1,020, 1,030 and 1,060; the last of all has no end.
    const { functions, busyUs } = timeSpent(profile, { fromUs: 1020, toUs: 1070 });
    expect(busyUs).to.equal(30);
    expect(Object.fromEntries(functions)).to.deep.equal({ "open  packages/core/dist/session.js:3": 30 });
  });
});
