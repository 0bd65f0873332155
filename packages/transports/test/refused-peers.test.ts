/** What a server is told of peers that its option `allowPeer` refuses. */
import { mkdirSync, rmSync } from "node:fs";
import { expect } from "chai";
import { RpcError, Server, Status, type Connection, type Peer } from "@sluice/core";
import { freshPath } from "./subjects.js";
import { describeNative } from "./variants.js";

describeNative("peers that a server refuses", ({ unix, shm, mmap, fifo, auto }) => {
  const runtime = process.env["XDG_RUNTIME_DIR"];
  let directory: string;

  beforeEach(() => {
    directory = freshPath("");
    mkdirSync(directory, { mode: 0o700 });
    process.env["XDG_RUNTIME_DIR"] = directory;
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
    if (runtime === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = runtime;
  });

  for (const transport of [unix, shm, mmap, fifo, auto]) {
    const { scheme } = transport;
    it(`are told of as connectionError (${scheme}:)`, async () => {
      const server = new Server([transport], {});
      const told = new Promise<[Error, Peer | undefined]>((resolve) =>
        server.on("connectionError", (...event) => resolve(event)),
      );
      const address = scheme === "auto" ? "auto:refusing" : `${scheme}:${directory}/refusing`;
      await server.listen(address, { allowPeer: () => false });
      const connecting = transport.connect(address, {});
      try {
        const [error, peer] = await told;
        expect(error).to.be.instanceOf(RpcError).with.property("code", Status.PERMISSION_DENIED);
        expect(error.message).to.contain("allowPeer refused").and.to.contain(peer!.address);
        expect(peer!.uid).to.equal(process.geteuid!());
      } finally {
        const ends = await Promise.allSettled<Connection>([connecting]);
        for (const end of ends) if (end.status === "fulfilled") end.value.destroy();
        await server.close();
      }
    });
  }
});
