/** What is peculiar to `fifo:` beside the contract: the rendezvous, the announcements, and what may stand in their way. */
import { execFileSync, spawn } from "node:child_process";
import { once, setMaxListeners } from "node:events";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { expect } from "chai";
import { Status, type Connection, type Listener, type Peer, type TransportOptions } from "@sluice/core";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { nodeTransports } from "@sluice/transports";
import { refusal } from "./refusal.js";
import { freshPath } from "./subjects.js";
import { describeNative } from "./variants.js";

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const isRoot = process.geteuid!() === 0;
const STRANGER = 65534;
const MAGIC = Buffer.from("SLFIFO1\n");
const TOKEN = Buffer.alloc(16, 0xab);
const STEM = `.sluice-${TOKEN.toString("hex")}`;

describeNative("fifo", ({ fifo }) => {
  let directory: string;
  let path: string;
  let address: string;
  let listeners: Listener[] = [];
  let connections: Connection[] = [];
  let fds: number[] = [];

  beforeEach(() => {
    directory = freshPath("");
    mkdirSync(directory, { mode: 0o700 });
    path = join(directory, "rendezvous");
    address = `fifo:${path}`;
  });

  afterEach(async () => {
    for (const connection of connections) connection.destroy();
    await Promise.all(listeners.map((listener) => listener.close()));
    for (const fd of fds) closeSync(fd);
    listeners = [];
    connections = [];
    fds = [];
    rmSync(directory, { recursive: true });
  });

  /** A server that sends every frame back. */
  async function listen(options: TransportOptions = {}): Promise<void> {
    const accept = (connection: Connection): void => {
      connections.push(connection);
      const endpoint = new Endpoint(connection);
      endpoint.consume = (memory, start, end) => void endpoint.send(memory.slice(start, end));
      endpoint.start();
    };
    listeners.push(await fifo.listen(address, accept, options));
  }

  async function connect(options: TransportOptions = {}): Promise<Connection> {
    const connection = await fifo.connect(address, options);
    connections.push(connection);
    return connection;
  }

  async function echoes(): Promise<void> {
    const endpoint = new Endpoint(await connect()).start();
    endpoint.send(makeFrame(0, 100));
    await endpoint.received(1);
  }

  /** Opens without waiting for the other end. The descriptor is closed after the test. */
  function open(at: string, access: number): number {
    const fd = openSync(at, access | O_NONBLOCK);
    fds.push(fd);
    return fd;
  }

  const mkfifo = (...names: string[]): unknown =>
    execFileSync("mkfifo", ["-m", "600", ...names.map((name) => join(directory, name))]);

  function announce(...parts: Uint8Array[]): void {
    writeSync(open(path, O_WRONLY), Buffer.concat(parts));
  }

  /** Writes as much as a FIFO holds. */
  function fill(fd: number): void {
    try {
      while (writeSync(fd, Buffer.alloc(4096)) > 0);
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).to.equal("EAGAIN");
    }
  }

  /** What there is in a FIFO, up to all that one holds. */
  function drain(fd: number): Buffer {
    const bytes = Buffer.alloc(64 << 10);
    try {
      return bytes.subarray(0, readSync(fd, bytes));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).to.equal("EAGAIN");
      return bytes.subarray(0, 0);
    }
  }

  /** The announcement that a server finds in its rendezvous. */
  async function announced(fd: number): Promise<{ bytes: Buffer; up: string; down: string }> {
    let bytes: Buffer = Buffer.alloc(0);
    await until(() => (bytes = drain(fd)).length > 0);
    const stem = join(directory, `.sluice-${bytes.toString("hex", MAGIC.length)}`);
    return { bytes, up: `${stem}.up`, down: `${stem}.down` };
  }

  async function until(ready: () => boolean): Promise<void> {
    while (!ready()) await setImmediate();
  }

  describe("the rendezvous", () => {
    it("is a FIFO of mode 0600, alone in its directory, and goes with its listener", async () => {
      await listen();
      await echoes();
      expect(lstatSync(path).isFIFO()).to.equal(true);
      expect(statSync(path).mode & 0o777).to.equal(0o600);
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
      await listeners[0]!.close();
      expect(readdirSync(directory)).to.deep.equal([]);
    });

    it("stays if it is not the listener's any more", async () => {
      await listen();
      rmSync(path);
      mkfifo("rendezvous");
      await listeners[0]!.close();
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
    });

    it("goes when the process exits by itself", async () => {
      const code = `
        import { fifo } from ${JSON.stringify(import.meta.resolve("@sluice/transports"))};
        await fifo.listen(${JSON.stringify(address)}, () => {}, {});
        process.exit();`;
      execFileSync(process.execPath, ["--input-type=module", "--eval", code]);
      expect(readdirSync(directory)).to.deep.equal([]);
    });

    it("of a dead server is nobody's, and is taken over by one of many", async () => {
      mkfifo("rendezvous");
      const nobody = await refusal(connect(), Status.UNAVAILABLE);
      expect(nobody.message).to.contain(address).and.to.contain("nobody listens there");
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => listen()));
      expect(outcomes.filter(({ status }) => status === "fulfilled")).to.have.length(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected")
          await refusal(Promise.reject(outcome.reason), Status.ALREADY_EXISTS);
      }
      await echoes();
    });

    for (const [what, make] of [
      ["a file", () => writeFileSync(path, "mine")],
      ["a directory", () => mkdirSync(path)],
      ["a link that leads nowhere", () => symlinkSync("nowhere", path)],
      [
        "a link to a FIFO",
        () => {
          mkfifo("elsewhere");
          open(join(directory, "elsewhere"), O_RDONLY);
          symlinkSync("elsewhere", path);
        },
      ],
    ] as const) {
      it(`is not made where ${what} is, nor looked for there`, async () => {
        make();
        const before = readdirSync(directory);
        const error = await refusal(listen(), Status.FAILED_PRECONDITION);
        expect(error.message).to.contain(address).and.to.contain("not a FIFO");
        const refused = await connect().catch((reason: Error) => reason);
        expect(String(refused)).to.contain(address);
        expect(readdirSync(directory)).to.deep.equal(before);
        if (what === "a file") expect(readFileSync(path, "utf8")).to.equal("mine");
      });
    }

    it("must be in a directory that there is, and that nobody else can write to", async () => {
      chmodSync(directory, 0o770);
      for (const attempt of [listen(), connect()]) {
        const error = await refusal(attempt, Status.PERMISSION_DENIED);
        expect(error.message).to.contain(directory).and.to.contain("written to by others (mode 0770)");
      }
      chmodSync(directory, 0o755);
      await listen();
      await echoes();
      address = `fifo:${directory}/none/rendezvous`;
      for (const attempt of [listen(), connect()]) {
        expect((await refusal(attempt, Status.NOT_FOUND)).message).to.contain(
          `${directory}/none does not exist`,
        );
      }
    });

    (isRoot ? it : it.skip)("must be in a directory of this user", async () => {
      chownSync(directory, STRANGER, STRANGER);
      for (const attempt of [listen(), connect()]) {
        expect((await refusal(attempt, Status.PERMISSION_DENIED)).message).to.contain(`uid ${STRANGER}`);
      }
      chownSync(directory, 0, 0);
    });
  });

  describe("peers", () => {
    it("are known by the FIFOs' owner", async () => {
      await listen();
      const { peer } = await connect();
      expect(peer).to.deep.equal({ address, uid: process.geteuid!() });
      expect(connections[0]!.peer).to.deep.equal(peer);
    });

    it("are refused by an allowPeer function, at either end", async () => {
      const asked: Peer[] = [];
      const allowPeer = (peer: Peer): boolean => asked.push(peer) === 0;
      await listen({ allowPeer });
      const byServer = await refusal(connect(), Status.UNAVAILABLE);
      expect(byServer.message).to.contain("the server refused");
      const byClient = await refusal(connect({ allowPeer }), Status.PERMISSION_DENIED);
      expect(byClient.message).to.contain("allowPeer refused");
      expect(asked).to.deep.equal(Array(2).fill({ address, uid: process.geteuid!() }));
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
    });

    it("do not occupy Node's thread pool, connected or waiting", async () => {
      await listen();
      for (let i = 0; i < 100; i++) await connect();
      // A server that reads no announcement.
      mkfifo("deaf");
      open(join(directory, "deaf"), O_RDONLY);
      const controller = new AbortController();
      setMaxListeners(0, controller.signal);
      const waiting = Array.from({ length: 100 }, () =>
        fifo
          .connect(`fifo:${directory}/deaf`, { signal: controller.signal })
          .catch((error: unknown) => error),
      );
      expect((await readFile(new URL(import.meta.url))).length).to.be.above(0);
      controller.abort(new Error("enough"));
      for (const outcome of await Promise.all(waiting)) expect(outcome).to.equal(controller.signal.reason);
      expect(readdirSync(directory).sort()).to.deep.equal(["deaf", "rendezvous"]);
    });
  });

  describe("a client", () => {
    let server: number;
    beforeEach(() => {
      // A server that only reads what the test says.
      mkfifo("rendezvous");
      server = open(path, O_RDONLY);
    });

    it("waits for room in a full rendezvous, and announces itself in one piece", async () => {
      const filler = open(path, O_WRONLY);
      fill(filler);
      const connecting = connect();
      await until(() => readdirSync(directory).length === 3);
      await setImmediate();
      drain(server);
      const { bytes, up, down } = await announced(server);
      expect(bytes.subarray(0, MAGIC.length)).to.deep.equal(MAGIC);
      expect(bytes).to.have.length(24);
      expect(statSync(up).mode & 0o777).to.equal(0o600);
      open(up, O_RDONLY);
      writeSync(open(down, O_WRONLY), Buffer.of(1));
      await connecting;
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
    });

    it("gives up when its signal is aborted, and leaves nothing", async () => {
      fill(open(path, O_WRONLY));
      const controller = new AbortController();
      const connecting = connect({ signal: controller.signal }).catch((error: unknown) => error);
      await until(() => readdirSync(directory).length === 3);
      const reason = new Error("changed my mind");
      controller.abort(reason);
      expect(await connecting).to.equal(reason);
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
    });

    it("learns that the server ended before it read the announcement", async () => {
      const connecting = connect();
      await until(() => readdirSync(directory).length === 3);
      closeSync(fds.pop()!);
      const error = await refusal(connecting, Status.UNAVAILABLE);
      expect(error.message).to.contain(address).and.to.contain("ended before it answered");
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
    });

    it("learns that the server ended after it opened the FIFOs", async () => {
      const connecting = connect();
      await until(() => readdirSync(directory).length === 3);
      const down = readdirSync(directory).find((name) => name.endsWith(".down"))!;
      closeSync(openSync(join(directory, down), O_WRONLY | O_NONBLOCK));
      await refusal(connecting, Status.UNAVAILABLE);
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
    });

    it("is connected if it was greeted by a server that has stopped listening since", async () => {
      const connecting = connect();
      await until(() => readdirSync(directory).length === 3);
      const stems = await announced(server);
      open(stems.up, O_RDONLY);
      const down = open(stems.down, O_WRONLY);
      await setImmediate();
      await setImmediate();
      // One turn of the event loop finds both, the end first.
      closeSync(server);
      fds = fds.filter((fd) => fd !== server);
      writeSync(down, Buffer.concat([Buffer.of(1), makeFrame(0, 100)]));
      const endpoint = new Endpoint(await connecting).start();
      await endpoint.received(1);
      expect(endpoint.frames[0]).to.deep.equal(makeFrame(0, 100));
    });
  });

  describe("a server", () => {
    const honest = Buffer.concat([MAGIC, TOKEN]);

    beforeEach(() => listen());

    /** What an honest client does before it announces itself: its FIFOs, open. */
    function prepare(): { reads: number } {
      mkfifo(`${STEM}.up`, `${STEM}.down`);
      open(join(directory, `${STEM}.up`), O_RDONLY);
      open(join(directory, `${STEM}.up`), O_WRONLY);
      return { reads: open(join(directory, `${STEM}.down`), O_RDONLY) };
    }

    for (const [what, before] of [
      ["nothing", []],
      ["noise", [Buffer.alloc(1000, 0x53)]],
      ["a part of the magic", [MAGIC.subarray(0, 3)]],
      ["half an announcement", [honest.subarray(0, 17)]],
      ["announcements of nobody", [MAGIC, Buffer.alloc(16, 1), MAGIC, Buffer.alloc(16, 2)]],
      [
        "a rendezvous full of announcements",
        Array<Buffer>(2700).fill(Buffer.concat([MAGIC, Buffer.alloc(16, 3)])),
      ],
      ["the magic, again and again", Array<Buffer>(100).fill(MAGIC)],
    ] as const) {
      it(`finds an announcement behind ${what}`, async () => {
        const { reads } = prepare();
        announce(...before, honest);
        await until(() => connections.length === 1);
        expect(drain(reads)).to.deep.equal(Buffer.of(1));
        expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
      });
    }

    it("finds an announcement that comes in pieces", async () => {
      prepare();
      for (const byte of honest) {
        announce(Buffer.of(byte));
        await setImmediate();
      }
      await until(() => connections.length === 1);
    });

    it("ignores what is announced and is not a pair of FIFOs that the client has open", async () => {
      const outside = freshPath(".txt");
      writeFileSync(outside, "secret");
      const lies: readonly (() => void)[] = [
        () => {},
        () => writeFileSync(join(directory, `${STEM}.up`), "file"),
        () => symlinkSync(outside, join(directory, `${STEM}.up`)),
        () => mkfifo(`${STEM}.up`),
        () => mkfifo(`${STEM}.up`, `${STEM}.down`),
        () => {
          mkfifo(`${STEM}.up`);
          symlinkSync(outside, join(directory, `${STEM}.down`));
        },
        () => {
          // No room for the greeting.
          prepare();
          fill(open(join(directory, `${STEM}.down`), O_WRONLY));
        },
      ];
      for (const lie of lies) {
        lie();
        announce(honest);
        // Behind it in the rendezvous.
        await echoes();
        expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
      }
      expect(connections).to.have.length(2 * lies.length);
      expect(readFileSync(outside, "utf8")).to.equal("secret");
    });

    it("drops a client that died before it was greeted", async () => {
      prepare();
      announce(honest);
      for (const fd of fds.splice(0)) closeSync(fd);
      await echoes();
      expect(connections).to.have.length(2);
      expect(readdirSync(directory)).to.deep.equal(["rendezvous"]);
    });

    it("goes on when allowPeer throws", async () => {
      await listeners.pop()!.close();
      const thrown: string[] = [];
      process.setUncaughtExceptionCaptureCallback(({ message }) => thrown.push(message));
      try {
        let asked = 0;
        await listen({
          allowPeer: () => {
            if (++asked === 1) throw new Error("by allowPeer");
            return true;
          },
        });
        await refusal(connect(), Status.UNAVAILABLE);
        await echoes();
      } finally {
        process.setUncaughtExceptionCaptureCallback(null);
      }
      expect(thrown).to.deep.equal(["by allowPeer"]);
    });

    it("removes what clients left that were killed too early, and nothing else", async () => {
      const old = new Date(Date.now() - 3_600_000);
      const age = (...names: string[]): void =>
        names.forEach((name) => utimesSync(join(directory, name), old, old));
      const other = (letter: string): string => `.sluice-${letter.repeat(32)}`;
      mkfifo(`${other("1")}.up`, `${other("1")}.down`, `${other("2")}.down`, `${other("3")}.up`, "mine");
      prepare();
      age(
        `${other("1")}.up`,
        `${other("1")}.down`,
        `${other("2")}.down`,
        `${STEM}.up`,
        `${STEM}.down`,
        "mine",
      );
      address = `fifo:${directory}/second`;
      await listen();
      expect(readdirSync(directory).sort()).to.deep.equal(
        [`${other("3")}.up`, `${STEM}.down`, `${STEM}.up`, "mine", "rendezvous", "second"].sort(),
      );
    });
  });

  it("connects while a client that is killed holds on to the rendezvous", async () => {
    await listen();
    const client = spawn("sh", ["-c", `exec 3>"${path}"; echo open; exec sleep 60`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(client.stdout, "data");
    const exited = once(client, "exit");
    client.kill("SIGKILL");
    await exited;
    await echoes();
    expect(existsSync(path)).to.equal(true);
  });
});

describe("fifo without the addon", () => {
  it("says that it needs it", async () => {
    for (const attempt of [
      nodeTransports.fifo.listen("fifo:/nowhere", () => {}, {}),
      nodeTransports.fifo.connect("fifo:/nowhere", {}),
    ]) {
      const error = await refusal(attempt, Status.UNIMPLEMENTED);
      expect(error.message).to.contain("fifo: needs @sluice/native");
    }
  });
});
