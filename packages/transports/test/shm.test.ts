/** What is peculiar to shm: and mmap: beside the contract: where their control sockets are, and what they refuse. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { AsyncLocalStorage } from "node:async_hooks";
import { spawnSync } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect } from "chai";
import { Status, type Connection, type Listener, type TransportOptions } from "@sluice/core";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { nodeTransports } from "@sluice/transports";
import { refusal } from "./refusal.js";
import { freshPath } from "./subjects.js";
import { describeNative } from "./variants.js";

const isRoot = process.geteuid!() === 0;
const STRANGER = 65534;

describeNative("shm and mmap", ({ shm, mmap, unix }) => {
  const runtime = process.env["XDG_RUNTIME_DIR"];
  let listeners: Listener[] = [];
  let connections: Connection[] = [];
  let directory: string;

  beforeEach(() => {
    directory = freshPath("");
    mkdirSync(directory, { mode: 0o700 });
    process.env["XDG_RUNTIME_DIR"] = directory;
  });

  afterEach(async () => {
    for (const connection of connections) connection.destroy();
    await Promise.all(listeners.map((listener) => listener.close()));
    listeners = [];
    connections = [];
    rmSync(directory, { recursive: true });
    if (runtime === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = runtime;
  });

  async function listen(address: string, options: TransportOptions = {}): Promise<void> {
    const transport = address.startsWith("mmap:") ? mmap : shm;
    const accept = (connection: Connection): void => {
      connections.push(connection);
      new Endpoint(connection).start();
    };
    listeners.push(await transport.listen(address, accept, options));
  }

  async function connect(address: string, options: TransportOptions = {}): Promise<Connection> {
    const transport = address.startsWith("mmap:") ? mmap : shm;
    const connection = await transport.connect(address, options);
    connections.push(connection);
    return connection;
  }

  describe("connections that have something at once", () => {
    const COUNT = 20;
    const context = new AsyncLocalStorage<number>();

    /** So many, each told of by `tell`, made in an async context of its number. Returns the ends that the server has. */
    async function connectMany(
      tell: (index: number, event: "frame" | "end", error?: Error) => void,
    ): Promise<Connection[]> {
      const far: Connection[] = [];
      const ignore = { onFrame() {}, onWritable() {}, onClose() {} };
      const accept = (connection: Connection): void => {
        connection.start(ignore);
        far.push(connection);
      };
      listeners.push(await shm.listen(`shm:${directory}/many`, accept, {}));
      for (let index = 0; index < COUNT; index++) {
        await context.run(index, async () => {
          const connection = await connect(`shm:${directory}/many`);
          connection.start({
            onFrame: () => tell(index, "frame"),
            onWritable() {},
            onClose: (error) => tell(index, "end", error),
          });
        });
      }
      connections.push(...far);
      return far;
    }

    function send(connection: Connection): void {
      const frame = makeFrame(0, 60);
      expect(connection.reserve(frame.length)).to.equal(true);
      connection.memory.set(frame, connection.rangeStart);
      connection.commit(frame.length);
    }

    /**
     * Have each told of a frame, and of another as soon as all have been: they are awake then, and have it at the same time.
     * Resolves when `tell` says so.
     */
    async function sendTwice(
      tell: (index: number, event: "frame" | "end", error?: Error) => boolean,
    ): Promise<void> {
      let frames = 0;
      let far: Connection[] = [];
      await new Promise<void>((resolve, reject) => {
        const connected = connectMany((index, event, error) => {
          if (event === "frame" && ++frames === COUNT) far.forEach(send);
          if (tell(index, event, error)) resolve();
        });
        connected.then((all) => {
          far = all;
          far.forEach(send);
        }, reject);
      });
    }

    it("are told of it each in its own async context", async () => {
      const seen: unknown[] = [];
      await sendTwice((index, event) => {
        if (event === "frame") seen.push([index, context.getStore()]);
        return seen.length === 2 * COUNT;
      });
      const each = Array.from({ length: COUNT }, (_, index) => [index, index]);
      expect(seen.slice(0, COUNT)).to.have.deep.members(each);
      expect(seen.slice(COUNT)).to.have.deep.members(each);
    });

    it("are not told any more once another of them has had them destroyed", async () => {
      let frames = 0;
      let ends = 0;
      await sendTwice((_, event) => {
        if (event === "end") ends++;
        else if (++frames === COUNT + 3) connections.slice(0, COUNT).forEach((one) => one.destroy());
        return ends === COUNT;
      });
      expect(frames).to.equal(COUNT + 3);
    });

    it("lose the one alone whose handler throws", async () => {
      const failure = new Error("what the handler threw");
      const frames: number[] = [];
      const ended: unknown[] = [];
      await sendTwice((index, event, error) => {
        if (event === "end") ended.push(index, error);
        else {
          frames.push(index);
          if (frames.length === COUNT + 4) throw failure;
        }
        return frames.length === 2 * COUNT && ended.length > 0;
      });
      expect(ended).to.deep.equal([frames[COUNT + 3], failure]);
    });

    it("go on when what the handler of one has put off throws", async () => {
      const thrown: string[] = [];
      process.setUncaughtExceptionCaptureCallback(({ message }) => thrown.push(message));
      try {
        let frames = 0;
        await sendTwice(() => {
          if (++frames === COUNT + 4) {
            process.nextTick(() => {
              throw new Error("put off by nextTick");
            });
            queueMicrotask(() => {
              throw new Error("put off by queueMicrotask");
            });
          }
          // The last handler's turn has to end before all is told.
          if (frames === 2 * COUNT) connections.slice(COUNT).forEach(send);
          return frames === 3 * COUNT;
        });
      } finally {
        process.setUncaughtExceptionCaptureCallback(null);
      }
      expect(thrown).to.have.members(["put off by nextTick", "put off by queueMicrotask"]);
    });
  });

  describe("a file system that is full", () => {
    let mounted: string;
    const mountable =
      isRoot &&
      (() => {
        const probe = freshPath("");
        mkdirSync(probe);
        const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=200k", "tmpfs", probe]);
        if (status === 0) spawnSync("umount", [probe]);
        rmdirSync(probe);
        return status === 0;
      })();

    before(function () {
      if (mountable) return;
      console.log("      skipped: no file system can be mounted here");
      this.skip();
    });

    beforeEach(() => {
      mounted = join(directory, "small");
      mkdirSync(mounted);
      expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=200k", "tmpfs", mounted]).status).to.equal(0);
    });

    afterEach(async () => {
      for (const connection of connections) connection.destroy();
      await Promise.all(listeners.map((listener) => listener.close()));
      expect(spawnSync("umount", [mounted]).status).to.equal(0);
    });

    it("is said to the client, with how much was wanted; one that has room is served", async () => {
      await listen(`mmap:${mounted}/server`, { capacity: 128 << 10 });
      const error = await refusal(connect(`mmap:${mounted}/server`), Status.UNAVAILABLE);
      expect(error.message)
        .to.include("ENOSPC")
        .and.to.include("266240 bytes")
        .and.to.include("ring capacity");
      await listen(`mmap:${mounted}/small`, { capacity: 64 << 10 });
      const client = new Endpoint(await connect(`mmap:${mounted}/small`)).start();
      client.send(makeFrame(0, 60));
      client.flush();
      // What is left behind is the sockets and their locks alone.
      expect(readdirSync(mounted).filter((name) => name.startsWith("sluice-"))).to.deep.equal([]);
    });
  });

  describe("blocks", () => {
    async function until(holds: () => boolean): Promise<void> {
      for (const end = performance.now() + 20_000; !holds(); await setTimeout(20)) {
        if (performance.now() > end) expect.fail("not within 20 s");
      }
    }

    it("are as large as asked for, or none", async () => {
      await listen("shm:default");
      expect((await connect("shm:default")).large?.maxBytes).to.equal(1_179_648);
      await listen("shm:large", { block: 8 << 20 });
      expect((await connect("shm:large")).large?.maxBytes).to.equal(8 << 20);
      await listen("shm:none", { block: 0 });
      expect((await connect("shm:none")).large).to.equal(undefined);
      await listen("shm:posix", { segment: "posix" });
      expect((await connect("shm:posix")).large).to.equal(undefined);
    });

    it("give the memory back that a burst has taken, but for what is used still", async () => {
      await listen("shm:burst");
      const near = new Endpoint(await connect("shm:burst")).start();
      const blockBytes = near.connection.large!.maxBytes;
      const bytes = (): number =>
        [...readFileSync("/proc/self/smaps", "latin1").matchAll(/memfd:sluice[^]*?^Pss: +(\d+) kB/gm)]
          .map(([, kibibytes]) => Number(kibibytes) * 1024)
          .reduce((sum, one) => sum + one, 0);
      let sent = 0;
      for (; near.connection.large!.available; sent++) {
        expect(near.send(makeFrame(sent, blockBytes))).to.equal(true);
      }
      expect(sent).to.be.at.least(16);
      expect(bytes()).to.be.at.least(sent * blockBytes);
      await until(() => bytes() < 5 * blockBytes);
      // It goes on in what is left, and in what must be taken anew.
      for (let more = 0; more < 16; more++) {
        await until(() => near.connection.large!.available);
        expect(near.send(makeFrame(more, blockBytes))).to.equal(true);
      }
    });

    it("are refused of impossible sizes, and where memory could be taken away", async () => {
      for (const block of [-4096, 4095, 1.5, 2 ** 26 + 4096, "4096", NaN]) {
        const error = await refusal(listen("shm:odd", { block }), Status.INVALID_ARGUMENT);
        expect(error.message).to.include("option block must be a multiple of 4096");
      }
      for (const options of [{ segment: "posix" }, { segment: "sysv" }]) {
        const error = await refusal(listen("shm:odd", { ...options, block: 4096 }), Status.INVALID_ARGUMENT);
        expect(error.message).to.include("memfd");
      }
    });
  });

  describe("the directory of names", () => {
    it("is made below XDG_RUNTIME_DIR, for this user alone", async () => {
      await listen("shm:here");
      expect(statSync(join(directory, "sluice")).mode & 0o777).to.equal(0o700);
      expect(readdirSync(join(directory, "sluice"))).to.deep.equal(["here"]);
      expect((await connect("shm:here")).peer.uid).to.equal(process.geteuid!());
    });

    it("is /tmp/sluice-UID where there is no XDG_RUNTIME_DIR", async () => {
      delete process.env["XDG_RUNTIME_DIR"];
      const name = `test-${process.pid}`;
      await listen(`shm:${name}`);
      expect(lstatSync(`/tmp/sluice-${process.geteuid!()}/${name}`).isSocket()).to.equal(true);
      await connect(`shm:${name}`);
    });

    it("need not be there for a client to learn that nobody listens", async () => {
      const error = await refusal(connect("shm:nobody"), Status.UNAVAILABLE);
      expect(error.message).to.include(join(directory, "sluice"));
    });

    it("is refused when others can enter it", async () => {
      mkdirSync(join(directory, "sluice"));
      chmodSync(join(directory, "sluice"), 0o755);
      for (const attempt of [listen("shm:here"), connect("shm:here")]) {
        expect((await refusal(attempt, Status.PERMISSION_DENIED)).message).to.include("mode 0755");
      }
    });

    it("is refused when it is a link", async () => {
      mkdirSync(join(directory, "elsewhere"), { mode: 0o700 });
      symlinkSync("elsewhere", join(directory, "sluice"));
      for (const attempt of [listen("shm:here"), connect("shm:here")]) {
        expect((await refusal(attempt, Status.PERMISSION_DENIED)).message).to.include("is not a directory");
      }
      expect(readdirSync(join(directory, "elsewhere"))).to.deep.equal([]);
    });

    (isRoot ? it : it.skip)("is refused when it is another user's", async () => {
      mkdirSync(join(directory, "sluice"), { mode: 0o700 });
      chownSync(join(directory, "sluice"), STRANGER, STRANGER);
      for (const attempt of [listen("shm:here"), connect("shm:here")]) {
        expect((await refusal(attempt, Status.PERMISSION_DENIED)).message).to.include(`uid ${STRANGER}`);
      }
    });
  });

  for (const scheme of ["shm", "mmap"]) {
    describe(`a path of ${scheme}:`, () => {
      const at = (): string => `${scheme}:${directory}/control`;

      it("that holds a file or a link is left alone", async () => {
        writeFileSync(`${directory}/control`, "mine");
        await refusal(listen(at()), Status.FAILED_PRECONDITION);
        rmSync(`${directory}/control`);
        symlinkSync("nowhere", `${directory}/control`);
        await refusal(listen(at()), Status.FAILED_PRECONDITION);
        expect(lstatSync(`${directory}/control`).isSymbolicLink()).to.equal(true);
      });

      it("is free again after the close, and nothing else is left there", async () => {
        await listen(at());
        await connect(at());
        await listeners.pop()!.close();
        expect(readdirSync(directory)).to.deep.equal([]);
      });

      it("where no server of shared memory listens is told from one where none does", async () => {
        const server = createServer((socket) => socket.end("220 another protocol, and a long welcome\r\n"));
        await new Promise<void>((resolve) => void server.listen(`${directory}/control`, resolve));
        try {
          const error = await refusal(connect(at()), Status.UNAVAILABLE);
          expect(error.message).to.include("no server of shared memory");
        } finally {
          server.close();
        }
      });

      it("whose server says nothing can be given up", async () => {
        const abort = new AbortController();
        const server = createServer(() => abort.abort(new Error("enough waited")));
        await new Promise<void>((resolve) => void server.listen(`${directory}/control`, resolve));
        try {
          const attempt = connect(at(), { signal: abort.signal });
          const error: unknown = await attempt.then(
            () => undefined,
            (reason: unknown) => reason,
          );
          expect(error).to.equal(abort.signal.reason);
        } finally {
          server.close();
        }
      });

      it("whose client is one of unix: ends that connection, and serves others", async () => {
        await listen(at());
        const stranger = await unix.connect(`unix:${directory}/control`, {});
        const closed = new Promise<void>((resolve) =>
          stranger.start({ onFrame() {}, onWritable() {}, onClose: () => resolve() }),
        );
        stranger.close();
        await closed;
        const endpoint = new Endpoint(await connect(at())).start();
        expect(endpoint.send(makeFrame(0, 100))).to.equal(true);
      });
    });
  }

  it("refuse options that cannot be, and name them", async () => {
    for (const [options, name] of [
      [{ capacity: 100_000 }, "capacity"],
      [{ capacity: 4096 }, "capacity"],
      [{ capacity: "64k" }, "capacity"],
      [{ segment: "hugetlb" }, "segment"],
      [{ allowPeer: "nobody" }, "allowPeer"],
    ] as const) {
      const error = await refusal(listen("shm:options", options), Status.INVALID_ARGUMENT);
      expect(error.message).to.include(`option ${name} `);
    }
  });
});

describe("shm and mmap without the addon", () => {
  it("say what they need, and what to use instead", async () => {
    for (const transport of [nodeTransports.shm, nodeTransports.mmap]) {
      for (const attempt of [
        transport.listen(`${transport.scheme}:x`, () => {}, {}),
        transport.connect(`${transport.scheme}:x`, {}),
      ]) {
        const error = await refusal(attempt, Status.UNIMPLEMENTED);
        expect(error.message).to.match(new RegExp(`^${transport.scheme}: needs @sluice/native`));
        expect(error.message).to.include("use unix: or tcp:");
      }
    }
  });
});
