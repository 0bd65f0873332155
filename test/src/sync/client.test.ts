/** Synchronous clients, against a server in another process; what must happen while one blocks happens in other threads. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect } from "chai";
import { createSyncClient, RpcError, Status, statusName, type SyncOptions } from "@sluice/node";
import { carriers, native, type Link } from "../carriers.js";
import { SimpleRequest } from "../gen/grpc/testing/messages.js";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { pattern } from "../payload.js";
import { Child, programPath } from "../processes.js";
import { SOON } from "../suite.js";
import { within } from "../within.js";

/** What a blocking call fails with. */
function failure(call: () => unknown, code: Status): RpcError {
  let error: unknown;
  try {
    call();
  } catch (reason) {
    error = reason;
  }
  if (!(error instanceof RpcError)) throw error ?? new Error(`it succeeded instead of ${statusName(code)}`);
  expect(error.codeName, error.message).to.equal(statusName(code));
  return error;
}

/** A blocking call in a thread of its own: when it has begun, and what came of it. */
class BlockedThread {
  readonly #worker: Worker;
  readonly outcome: Promise<{ code?: string; mayHaveRun?: boolean; value?: unknown }>;

  private constructor(worker: Worker) {
    this.#worker = worker;
    this.outcome = once(worker, "message").then(([outcome]) => outcome as object);
  }

  static async run(
    address: string,
    method: string,
    request: object,
    options: object,
  ): Promise<BlockedThread> {
    const worker = new Worker(programPath("sync-call"), {
      workerData: { address, method, request, options },
    });
    await within(SOON, once(worker, "message"), "the start of the thread");
    return new BlockedThread(worker);
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

const VARIANTS: readonly {
  readonly title: string;
  readonly scheme: string;
  readonly options?: SyncOptions;
}[] = [
  { title: "unix:", scheme: "unix:" },
  { title: "unix: without polling", scheme: "unix:", options: { poll: { us: 0 } } },
  { title: "tcp:", scheme: "tcp://127.0.0.1" },
  { title: "shm:", scheme: "shm:" },
  { title: "shm: without polling", scheme: "shm:", options: { poll: { us: 0 } } },
  { title: "shm: on a semaphore", scheme: "shm:", options: { poll: { us: 0 }, wait: "semaphore" } },
  { title: "mmap:", scheme: "mmap:" },
];

for (const { title, scheme, options = {} } of VARIANTS) {
  (native ? describe : describe.skip)(`a synchronous client over ${title}`, function () {
    this.timeout(60_000);
    let link: Link;
    // Tests that end the server start it again.
    before(async () => {
      const client = { waitForReady: true, backoff: { initialMs: 5, maxMs: 20 } };
      link = await carriers.find(({ name }) => name === scheme)!.open({ client });
    });
    after(() => link.close());

    const probe = () => createSyncClient(ProbeDefinition, link.address!, options);
    const interop = () => createSyncClient(TestServiceDefinition, link.address!, options);

    it("makes unary calls, with what they carry unharmed", () => {
      const client = probe();
      for (const size of [0, 1, 63, 64, 4095, 65_535, 65_536, 300_000, 3 << 20]) {
        const body = pattern(size, size);
        const echoed = client.echo({ index: size, body, hold: "" });
        expect(echoed.index).to.equal(size);
        expect(Buffer.compare(echoed.body, body), `${size} bytes`).to.equal(0);
      }
      client.close();
    });

    it("makes many calls one after another", () => {
      const client = probe();
      const body = pattern(64);
      for (let index = 1; index <= 5000; index++) {
        expect(client.echo({ index, body, hold: "" }).index).to.equal(index);
      }
      client.close();
    });

    it("iterates a stream of responses in order, with other calls in between", () => {
      const client = probe();
      let next = 0;
      for (const { index, body } of client.produce({ count: 3000, bytes: 1000 })) {
        expect(index).to.equal(next++);
        expect(body.length).to.equal(1000);
        if (index % 500 === 0) expect(client.echo({ index, body, hold: "" }).index).to.equal(index);
      }
      expect(next).to.equal(3000);
      client.close();
    });

    it("cancels a stream that is left early", () => {
      const client = probe();
      for (const { index } of client.produce({ count: 0, bytes: 100 })) {
        if (index === 100) break;
      }
      client.settle({});
      expect(client.report({}).running).to.equal(0);
      client.close();
    });

    it("throws the status, message, details and trailers that the handler failed with", () => {
      const client = probe();
      const details = [{ typeUrl: "type.googleapis.com/x.Y", value: pattern(10) }];
      const error = failure(
        () =>
          client.fail({
            code: Status.ABORTED,
            message: "as told",
            details,
            trailers: new Map([["why", "this"]]),
          }),
        Status.ABORTED,
      );
      expect(error.message).to.equal("as told");
      expect(error.details).to.have.length(1);
      expect(error.metadata?.get("why")).to.equal("this");
      client.close();
    });

    it("sends metadata, and reports headers and trailers", () => {
      const client = interop();
      const seen: string[] = [];
      client.unaryCall(SimpleRequest.fromPartial({}), {
        metadata: { "x-grpc-test-echo-initial": "initial", "x-grpc-test-echo-trailing-bin": pattern(3) },
        onHeader: (header) => seen.push(String(header.get("x-grpc-test-echo-initial"))),
        onTrailer: (trailer) =>
          seen.push(Buffer.from(trailer.get("x-grpc-test-echo-trailing-bin") as Uint8Array).toString("hex")),
      });
      expect(seen).to.deep.equal(["initial", Buffer.from(pattern(3)).toString("hex")]);
      client.close();
    });

    it("fails a call of a method that nobody implements", () => {
      const client = interop();
      failure(() => client.unimplementedCall({}), Status.UNIMPLEMENTED);
      client.close();
    });

    it("ends a call at its deadline, and goes on", () => {
      const client = probe();
      const { mayHaveRun } = failure(
        () => client.hold({ key: "never" }, { timeoutMs: 50 }),
        Status.DEADLINE_EXCEEDED,
      );
      expect(mayHaveRun).to.equal(true);
      failure(() => client.hold({ key: "never" }, { timeoutMs: 0 }), Status.DEADLINE_EXCEEDED);
      expect(client.echo({ index: 7, body: pattern(9), hold: "" }).index).to.equal(7);
      client.settle({});
      client.close();
    });

    it("ends a call at its deadline when the server stands still", async () => {
      const client = probe();
      client.echo({ index: 1, body: pattern(1), hold: "" });
      await link.server!.freeze();
      failure(
        () => client.echo({ index: 2, body: pattern(1), hold: "" }, { timeoutMs: 50 }),
        Status.DEADLINE_EXCEEDED,
      );
      const fresh = probe();
      failure(
        () => fresh.echo({ index: 3, body: pattern(1), hold: "" }, { timeoutMs: 50 }),
        Status.DEADLINE_EXCEEDED,
      );
      link.server!.thaw();
      expect(client.echo({ index: 4, body: pattern(1), hold: "" }).index).to.equal(4);
      expect(fresh.echo({ index: 5, body: pattern(1), hold: "" }).index).to.equal(5);
      client.close();
      fresh.close();
    });

    it("learns of the server's death while it waits", async () => {
      const thread = await BlockedThread.run(link.address!, "hold", { key: "never" }, options);
      const held = link.channel.client(ProbeDefinition);
      await within(SOON, untilRunning(held), "the call to arrive");
      await link.server!.destroy();
      const { code, mayHaveRun } = await within(SOON, thread.outcome, "the end of the blocked call");
      expect(code).to.equal("UNAVAILABLE");
      expect(mayHaveRun).to.equal(true);
      await thread.end();
      await link.start();
    });

    it("connects again after the server was started again", async () => {
      const client = probe();
      client.echo({ index: 1, body: pattern(1), hold: "" });
      await link.server!.destroy();
      failure(() => {
        // The first call may have been sent before the end was noticed.
        client.echo({ index: 2, body: pattern(1), hold: "" });
      }, Status.UNAVAILABLE);
      expect(
        failure(() => client.echo({ index: 2, body: pattern(1), hold: "" }), Status.UNAVAILABLE).mayHaveRun,
      ).to.equal(false);
      await link.start();
      expect(client.echo({ index: 3, body: pattern(1), hold: "" }).index).to.equal(3);
      client.close();
    });

    it("survives a graceful close of the server between two calls", async () => {
      const client = probe();
      client.echo({ index: 1, body: pattern(1), hold: "" });
      await link.stop();
      expect(
        failure(() => client.echo({ index: 2, body: pattern(1), hold: "" }), Status.UNAVAILABLE).mayHaveRun,
      ).to.equal(false);
      await link.start();
      expect(client.echo({ index: 3, body: pattern(1), hold: "" }).index).to.equal(3);
      client.close();
    });

    it("works in many threads at once", async () => {
      const threads = await Promise.all(
        Array.from({ length: 8 }, (_, index) =>
          BlockedThread.run(link.address!, "echo", { index, body: pattern(100, index), hold: "" }, options),
        ),
      );
      for (const [index, thread] of threads.entries()) {
        const { value } = await within(SOON, thread.outcome, "a call of a thread");
        expect((value as { index: number }).index).to.equal(index);
      }
      await Promise.all(threads.map((thread) => thread.end()));
    });

    it("can have its thread ended while it is idle, and leaves nothing", async () => {
      const before = (await link.channel.client(ProbeDefinition).report({})).descriptors;
      for (let round = 0; round < 5; round++) {
        const request = { index: round, body: pattern(10), hold: "" };
        const thread = await BlockedThread.run(link.address!, "echo", request, options);
        await within(SOON, thread.outcome, "the call");
        await thread.end();
      }
      const client = link.channel.client(ProbeDefinition);
      const gone = async (): Promise<void> => {
        while ((await client.report({})).descriptors > before);
      };
      await within(SOON, gone(), "the server to be rid of the connections");
    });

    it("can have its thread ended while it is blocked, for however long", async () => {
      const forever = { ...options, timeoutMs: Infinity };
      const thread = await BlockedThread.run(link.address!, "hold", { key: "never" }, forever);
      const held = link.channel.client(ProbeDefinition);
      await within(SOON, untilRunning(held), "the call to arrive");
      await within(SOON, thread.end(), "the end of the thread");
      await within(SOON, held.settle({}), "the end of its call");
    });

    it("refuses to be used by its own callback or request, or after its close", () => {
      const client = probe();
      const request = {
        index: 1,
        hold: "",
        get body(): Uint8Array {
          client.echo({ index: 2, body: pattern(1), hold: "" });
          return pattern(1);
        },
      };
      const error = failure(() => client.echo(request), Status.FAILED_PRECONDITION);
      expect(error.message).to.include("while it was at work");
      expect(client.echo({ index: 3, body: pattern(1), hold: "" }).index).to.equal(3);
      client.close();
      client.close();
      const closed = failure(
        () => client.echo({ index: 4, body: pattern(1), hold: "" }),
        Status.FAILED_PRECONDITION,
      );
      expect(closed.message).to.include("has been closed");
    });

    it("answers no PING between calls, and is not taken for dead", async () => {
      const other = await carriers
        .find(({ name }) => name === scheme)!
        .open({ server: { keepalive: { intervalMs: 20, timeoutMs: 20 } } });
      try {
        const client = createSyncClient(ProbeDefinition, other.address!, options);
        client.echo({ index: 1, body: pattern(1), hold: "" });
        // Several intervals pass for the server, told by its own clock: it answers when its timer has fired.
        const served = other.channel.client(ProbeDefinition);
        for (let wait = 0; wait < 5; wait++) {
          await failureOf(served.hold({ key: "none" }, { timeoutMs: 30 }));
        }
        expect(client.echo({ index: 2, body: pattern(1), hold: "" }).index).to.equal(2);
        client.close();
      } finally {
        await other.close();
      }
    });
  });
}

async function untilRunning(probe: { report(request: object): Promise<{ running: number }> }): Promise<void> {
  while ((await probe.report({})).running === 0);
}

async function failureOf(call: Promise<unknown>): Promise<void> {
  const error = await within(
    SOON,
    call.then(undefined, (reason: unknown) => reason),
    "the deadline",
  );
  expect(error).to.be.instanceOf(RpcError);
}

(native ? describe : describe.skip)("a synchronous client over pipe:", () => {
  it("calls the parent that started its process, and ends with UNAVAILABLE when it is gone", async function () {
    this.timeout(30_000);
    const child = Child.run("sync-parent", []);
    expect(await child.line()).to.equal("echoed 1000 times");
    expect(await child.line()).to.equal("then UNAVAILABLE");
    expect((await within(SOON, child.exited, "the parent's end")).code).to.equal(0);
  });
});

describe("where there are no synchronous clients", () => {
  it("says so, and what to use", () => {
    const error = failure(() => createSyncClient(ProbeDefinition, "memory:x"), Status.UNIMPLEMENTED);
    expect(error.message).to.match(
      native ? /use shm:, mmap:, unix:, tcp: or pipe:/ : /needs @sluice\/native/,
    );
  });

  (native ? it.skip : it)("names what is missing without the addon", () => {
    const error = failure(() => createSyncClient(ProbeDefinition, "unix:/x"), Status.UNIMPLEMENTED);
    expect(error.message).to.include("SLUICE_NATIVE=0");
  });

  (native ? it : it.skip)("says that no parent is there to connect to", () => {
    const client = createSyncClient(ProbeDefinition, "pipe:");
    const error = failure(() => client.hold({ key: "" }), Status.FAILED_PRECONDITION);
    expect(error.message).to.match(/cannot connect to pipe: .*not started by Sluice's spawn/);
  });

  it("refuses options that cannot be", () => {
    failure(
      () => createSyncClient(ProbeDefinition, "unix:/x", { timeoutMs: -1 }),
      Status[native ? "INVALID_ARGUMENT" : "UNIMPLEMENTED"],
    );
    failure(() => createSyncClient(ProbeDefinition, "nothing:x"), Status.INVALID_ARGUMENT);
  });
});
