import { expect } from "chai";
import { allocations } from "@sluice/bench/allocation.js";
import type { HeapNode } from "@sluice/bench/heap-sampling.js";

const BASE = "file:///somewhere/";

function node(functionName: string, url: string, selfSize: number, ...children: HeapNode[]): HeapNode {
  return { callFrame: { functionName, url, lineNumber: 9 }, selfSize, children };
}

describe("what calls allocate", () => {
  it("is put down to whose code it is, and that of Node and V8 to whoever calls them", () => {
    const writer = node("string", `${BASE}packages/core/dist/protobuf/writer.js`, 1, node("slice", "", 2));
    const encode = node("encode", `${BASE}packages/bench/dist/gen/echo.js`, 4, writer);
    const begin = node(
      "begin",
      `${BASE}packages/core/dist/client-call.js`,
      8,
      encode,
      node("Promise", "", 16),
    );
    const now = node("now", "node:internal/perf", 32, node("now", "", 64));
    const repeat = node("repeat", `${BASE}packages/bench/dist/load.js`, 128, begin, now);
    const peer = node("read", `${BASE}node_modules/@grpc/grpc-js/build/src/call.js`, 256);
    const { owners, functions } = allocations(
      node("(root)", "", 512, node("emit", "node:events", 1024, repeat), peer),
    );
    expect(Object.fromEntries(owners)).to.deep.equal({
      library: 8 + 16 + 256 + 512 + 1024,
      messages: 1 + 2 + 4,
      application: 32 + 64 + 128,
    });
    expect(Object.fromEntries(functions)).to.include({
      "(root)": 512,
      "emit < (root)": 1024,
      "begin  packages/core/dist/client-call.js:10": 8,
      "Promise < begin  packages/core/dist/client-call.js:10": 16,
      "now < now < repeat  packages/bench/dist/load.js:10": 64,
    });
  });

  it("is summed up by function, wherever it was called from", () => {
    const make = node("make", `${BASE}packages/core/dist/session.js`, 3);
    const { functions } = allocations(
      node("(root)", "", 0, make, node("other", `${BASE}elsewhere.js`, 0, make)),
    );
    expect(Object.fromEntries(functions)).to.deep.equal({ "make  packages/core/dist/session.js:10": 6 });
  });
});
