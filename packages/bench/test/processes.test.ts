import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { expect } from "chai";
import { BenchProcess } from "@sluice/bench/bench-process.js";
import { Endpoints } from "@sluice/bench/endpoints.js";
import { childrenOf, startMain } from "./main.js";

describe("the processes of the bench", function () {
  this.timeout(60_000);

  for (const transport of ["unix", "pipe"]) {
    it(`leave the signals of a terminal to the driver: ${transport}`, async () => {
      const endpoints = await Endpoints.open("sluice", transport);
      try {
        const client = await endpoints.addClient(transport);
        const all = [client.pid, ...(endpoints.server ? [endpoints.server.pid] : childrenOf(client.pid))];
        expect(all).to.have.lengthOf(2);
        for (const pid of all) {
          process.kill(pid, "SIGINT");
          process.kill(pid, "SIGHUP");
        }
        await endpoints.verify({
          implementation: "sluice",
          transport,
          kind: "unary",
          bytes: 64,
          inFlight: 1,
        });
      } finally {
        await endpoints.close();
      }
    });
  }

  it("end when the driver does, although they are connecting", async () => {
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const client = await BenchProcess.start("./client-process.js", ["sluice"]);
    const address = `tcp://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const accepted = once(silent, "connection");
    const connecting = client
      .ask<void>({ connect: { transport: "tcp", address, connections: 1 } }, 60_000)
      .catch((error: unknown) => error);
    await accepted;
    const began = performance.now();
    await client.stop();
    silent.close();
    expect(performance.now() - began).to.be.below(2000);
    expect(await connecting)
      .to.be.an("error")
      .with.property("message")
      .contains("ended by itself");
  });

  for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
    it(`end with the exit code ${code} by ${signal}`, async () => {
      const main = startMain(["--only", "c++/memcpy/echo/64/1"]);
      await once(main.stderr, "data");
      main.kill(signal as NodeJS.Signals);
      expect(await once(main, "exit")).to.deep.equal([code, null]);
    });
  }
});
