import { expect } from "chai";
import { findImplementation } from "@sluice/bench/implementations/index.js";
import {
  allScenarios,
  defaultScenarios,
  findScenario,
  quickScenarios,
  scenarioId,
  selectScenarios,
} from "@sluice/bench/scenarios.js";

describe("scenarios", () => {
  for (const [name, scenarios] of [
    ["quick", quickScenarios()],
    ["default", defaultScenarios()],
    ["full", allScenarios()],
  ] as const) {
    it(`names each of the ${name} scenarios once, and only what its implementation has`, () => {
      const ids = scenarios.map(scenarioId);
      expect(new Set(ids).size).to.equal(ids.length);
      for (const { implementation, transport } of scenarios) {
        expect(findImplementation(implementation).transports).to.have.property(transport);
      }
    });
  }

  it("measures small calls on everything when it must be quick, and all sizes and streams where they are compared", () => {
    const quick = quickScenarios().map(scenarioId);
    const carriers = ["sluice", "c++"].flatMap((name) =>
      Object.keys(findImplementation(name).transports).map((transport) => `${name}/${transport}`),
    );
    const peers = ["grpc-js/unix", "zeromq/ipc", "capnweb/websocket", "vscode-jsonrpc/unix"];
    for (const id of [...carriers, ...peers]) {
      // Which is one of the others, or one with other options; what matters to large messages, or many connections, alone; and blocking calls, one at a time.
      const inFlights =
        ["sluice/auto", "sluice/shm-lent", "sluice/mq-large"].includes(id) ||
        id.endsWith("-kept") ||
        id.endsWith("-each")
          ? []
          : id === "sluice/shm-sync"
            ? [1]
            : [1, 64];
      const kind = id.startsWith("c++") || id === "sluice/shm-frames" ? "echo" : "unary";
      expect(quick).to.include.members(inFlights.map((inFlight) => `${id}/${kind}/64/${inFlight}`));
    }
    for (const id of ["sluice/shm", "sluice/unix", "sluice/tcp", "grpc-js/unix"]) {
      const calls = ["1024/1", "1024/64", "65536/1", "65536/64", "1048576/1", "1048576/16"];
      const streams = ["serverStreaming/64/1", "clientStreaming/64/1", "bidiStreaming/64/64"];
      const expected = [...calls.map((call) => `unary/${call}`), ...streams].map((rest) => `${id}/${rest}`);
      expect(quick).to.include.members(expected);
    }
  });

  it("measures large messages everywhere unless it must be quick, but not where a slice of them takes seconds", () => {
    const ids = defaultScenarios().map(scenarioId);
    for (const transport of ["ring-polled", "ring-each", "unix", "unix-each"]) {
      expect(ids).to.include(`c++/${transport}/echo/64/1000`);
    }
    const large = ["65536/1", "65536/64", "1048576/1", "1048576/16"];
    for (const id of [
      "sluice/udp",
      "sluice/sysvmq",
      "sluice/unix",
      "sluice/memory",
      "grpc-js/unix",
      "zeromq/ipc",
    ]) {
      expect(ids).to.include.members(large.map((rest) => `${id}/unary/${rest}`));
    }
    for (const id of ["c++/unix", "c++/unix-kept", "c++/pipe", "c++/pipe-kept", "c++/ring-polled"]) {
      expect(ids).to.include.members([`${id}/echo/65536/64`, `${id}/echo/1048576/16`]);
    }
    for (const id of ["capnweb/websocket", "vscode-jsonrpc/unix", "nice-grpc/unix", "connect-node/unix"]) {
      expect(ids)
        .to.include.members([`${id}/unary/65536/64`])
        .and.not.to.include(`${id}/unary/1048576/16`);
    }
  });

  it("measures every size with every number of calls in flight in a full run, as far as memory goes", () => {
    const full = allScenarios().map(scenarioId);
    for (const id of ["sluice/auto", "sluice/sysvmq", "sluice/udp-secret", "nice-grpc/unix", "zeromq/ipc"]) {
      for (const bytes of [64, 1024, 65536, 1048576]) {
        const inFlights = [1, 16, 64, 1024].filter((inFlight) => bytes * inFlight <= 64 * 1024 * 1024);
        expect(full).to.include.members(inFlights.map((inFlight) => `${id}/unary/${bytes}/${inFlight}`));
      }
    }
  });

  it("selects by part of the id, with what the call options are compared with", () => {
    expect(selectScenarios(quickScenarios(), ["/deadline"]).map(scenarioId)).to.deep.equal([
      "sluice/unix/unary/64/64",
      "sluice/unix/unary/64/64/deadline",
    ]);
    expect(selectScenarios(quickScenarios(), ["no such thing"])).to.deep.equal([]);
  });

  it("finds one by its id, or says which there are", () => {
    const id = "grpc-js/unix/unary/64/1";
    expect(scenarioId(findScenario(allScenarios(), id))).to.equal(id);
    expect(() => findScenario(allScenarios(), "grpc"))
      .to.throw(`no scenario is called "grpc"`)
      .with.property("message")
      .contains(id);
  });

  it("says which implementations there are", () => {
    expect(() => findImplementation("carrier pigeons")).to.throw("sluice, c++, grpc-js");
  });
});
