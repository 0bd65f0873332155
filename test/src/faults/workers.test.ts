/** Threads that make calls by rings and are ended in the midst of it. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { carriers, native, type Link } from "../carriers.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { descriptors, programPath } from "../processes.js";
import { SOON } from "../suite.js";
import { until, within } from "../within.js";

const mappings = () =>
  readFileSync("/proc/self/maps", "latin1").match(/memfd:sluice|\/sluice-[0-9a-f]{32}/g)?.length ?? 0;

for (const scheme of ["shm:", "mmap:"]) {
  (native ? describe : describe.skip)(`threads that are ended over ${scheme}`, function () {
    this.timeout(60_000);
    let link: Link;
    before(async () => {
      link = await carriers.find(({ name }) => name === scheme)!.open();
    });
    after(() => link.close());

    for (const mode of ["async", "sync"]) {
      it(`12 that call (${mode}) leave neither descriptors nor mappings`, async () => {
        const before = { descriptors: descriptors(process.pid), mappings: mappings() };
        for (let round = 0; round < 2; round++) {
          const workers = Array.from(
            { length: 6 },
            () => new Worker(programPath("ring-caller"), { argv: [link.address!, mode], stdout: true }),
          );
          // Node leaks descriptors of a thread that is ended while it loads its modules.
          const ready = workers.map((worker) => once(worker.stdout, "data"));
          await within(SOON, Promise.all(ready), "the threads");
          await setTimeout(Math.random() * 200);
          await within(SOON, Promise.all(workers.map((worker) => worker.terminate())), "the threads' end");
        }
        await within(
          SOON,
          link.channel.client(TestServiceDefinition).emptyCall({}),
          "a call of another client",
        );
        await until(
          SOON,
          () => descriptors(process.pid) <= before.descriptors && mappings() <= before.mappings,
          () =>
            `${descriptors(process.pid)} descriptors, ${mappings()} mappings; before ${JSON.stringify(before)}`,
        );
      });
    }
  });
}
