/** JavaScript's end of a ring against the one in C++, in another process. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { expect } from "chai";
import type { Connection, TransportOptions } from "@sluice/core";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { nativeTransports } from "@sluice/transports";
import { freshPath } from "./subjects.js";

const compiler = spawnSync(process.env["CXX"] ?? "g++", ["--version"]).status === 0;
const source = new URL("../../../../native/test/build-peer.mjs", import.meta.url).href;

const VARIANTS: readonly { readonly options: TransportOptions; readonly how: "socket" | "semaphore" }[] = [
  { options: { segment: "memfd" }, how: "socket" },
  { options: { segment: "posix", poll: { us: 0 } }, how: "socket" },
  { options: { segment: "sysv", capacity: 64 << 10 }, how: "semaphore" },
  { options: { segment: "memfd", capacity: 64 << 10, poll: { us: 0 } }, how: "semaphore" },
];

(nativeTransports && compiler ? describe : describe.skip)("a ring between JavaScript and C++", function () {
  this.timeout(120_000);
  let program: string;
  let peer: ChildProcess | undefined;

  before(async () => {
    const { buildPeer } = (await import(source)) as { buildPeer: () => string };
    program = buildPeer();
  });
  after(() => {
    if (program !== undefined) rmSync(program);
  });
  afterEach(() => {
    peer?.kill("SIGKILL");
  });

  for (const { options, how } of VARIANTS) {
    const title = `${JSON.stringify(options)}, C++ asleep on its ${how}`;
    it(`carries frames of every size both ways, in order: ${title}`, async () => {
      const path = freshPath(".ring");
      const accepted = new Promise<Connection>((resolve, reject) => {
        nativeTransports!.shm.listen(`shm:${path}`, resolve, options).then((listener) => {
          peer = spawn(program, [path, how], { stdio: ["ignore", "pipe", "inherit"] });
          peer.once("exit", () => void listener.close());
        }, reject);
      });
      const endpoint = new Endpoint(await accepted);
      const { maxFrameBytes } = endpoint.connection.traits;
      const sizes = Array.from({ length: 20_000 }, (_, i) =>
        i % 50 === 0 ? 12 + ((i * 7919) % (maxFrameBytes - 11)) : 12 + ((i * 31) % 400),
      );
      let received = 0;
      endpoint.consume = (memory, start, end) => {
        const frame = memory.subarray(start, end);
        const expected = makeFrame(received, sizes[received]!);
        if (Buffer.compare(frame, expected) !== 0) throw new Error(`frame ${received} is not what was sent`);
        received++;
      };
      endpoint.start();
      await endpoint.sendAll(sizes.map((size, index) => makeFrame(index, size)));
      await endpoint.until(() => received === sizes.length);

      const exit = once(peer!, "exit");
      const output = once(peer!.stdout!, "data");
      endpoint.close();
      expect(String((await output)[0])).to.equal(`${sizes.length}\n`);
      expect((await exit)[0]).to.equal(0);
    });
  }
});
