import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect as netConnect, createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { Status, type Connection, type Listener, type Peer, type TransportOptions } from "@sluice/core";
import { native } from "@sluice/native";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { nativePlatform } from "#transports/platform/native/index.js";
import { nodePlatform } from "#transports/platform/node/index.js";
import { lockFile } from "#transports/unix/lock.js";
import { refusal } from "./refusal.js";
import { freshPath } from "./subjects.js";
import { describeVariants } from "./variants.js";

const program = fileURLToPath(new URL("./server.js", import.meta.url));
const isRoot = process.geteuid!() === 0;
/** The user nobody, as whom root can run another process. */
const STRANGER = 65534;

describeVariants("unix", ({ name, transports: { unix } }) => {
  const platform = name === "native" ? nativePlatform(native!) : nodePlatform;
  let listeners: Listener[] = [];
  let connections: Connection[] = [];
  let servers: ChildProcess[] = [];

  async function listen(address: string, options: TransportOptions = {}): Promise<Connection[]> {
    const accepted: Connection[] = [];
    const listener = await unix.listen(address, (connection) => void accepted.push(connection), options);
    listeners.push(listener);
    return accepted;
  }

  async function connect(address: string, options: TransportOptions = {}): Promise<Connection> {
    const connection = await unix.connect(address, options);
    connections.push(connection);
    return connection;
  }

  /** Starts a server process; resolves to what it says. */
  async function serve(address: string, uid?: number): Promise<string> {
    const args = [program, name, address, ...(uid === undefined ? [] : [String(uid)])];
    const server = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    servers.push(server);
    const [line] = (await once(server.stdout, "data")) as [Buffer];
    return line.toString().trim();
  }

  async function kill(server: ChildProcess): Promise<void> {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, "exit");
    server.kill("SIGKILL");
    await exited;
  }

  afterEach(async () => {
    for (const connection of connections) connection.destroy();
    await Promise.all(listeners.map((listener) => listener.close()));
    await Promise.all(servers.map(kill));
    listeners = [];
    connections = [];
    servers = [];
  });

  describe("what it leaves behind", () => {
    it("is nothing: neither socket nor lock file after the close", async () => {
      const directory = freshPath("");
      mkdirSync(directory, { mode: 0o700 });
      await listen(`unix:${directory}/a`);
      expect(readdirSync(directory)).to.deep.equal(["a"]);
      await listeners[0]!.close();
      expect(readdirSync(directory)).to.deep.equal([]);
    });

    it("is nothing when the process has changed its directory meanwhile", async () => {
      const directory = freshPath("");
      mkdirSync(directory, { mode: 0o700 });
      const before = process.cwd();
      try {
        process.chdir(directory);
        await listen("unix:a");
      } finally {
        process.chdir(before);
      }
      expect(readdirSync(directory)).to.deep.equal(["a"]);
      await listeners[0]!.close();
      expect(readdirSync(directory)).to.deep.equal([]);
    });

    it("is nothing after a failure either", async () => {
      const directory = freshPath("");
      mkdirSync(directory, { mode: 0o700 });
      await listen(`unix:${directory}/a`);
      await refusal(
        unix.listen(`unix:${directory}/a`, () => {}, {}),
        Status.ALREADY_EXISTS,
      );
      expect(readdirSync(directory)).to.deep.equal(["a"]);
    });
  });

  describe("taking over", () => {
    it("replaces the socket of a server that was killed", async () => {
      const path = freshPath();
      expect(await serve(`unix:${path}`)).to.equal(`unix:${path}`);
      await kill(servers[0]!);
      expect(lstatSync(path).isSocket()).to.equal(true);
      await listen(`unix:${path}`);
      await connect(`unix:${path}`);
    });

    it("leaves a live server alone", async () => {
      const path = freshPath();
      await serve(`unix:${path}`);
      const error = await refusal(
        unix.listen(`unix:${path}`, () => {}, {}),
        Status.ALREADY_EXISTS,
      );
      expect(error.message).to.contain(path).and.to.contain("live server");
      const endpoint = new Endpoint(await connect(`unix:${path}`)).start();
      endpoint.send(makeFrame(0, 100));
      await endpoint.received(1);
    });

    it("leaves a stopped server alone, which accepts nothing but is not dead", async function () {
      this.timeout(60_000);
      const path = freshPath();
      await serve(`unix:${path}`);
      servers[0]!.kill("SIGSTOP");
      await refusal(
        unix.listen(`unix:${path}`, () => {}, {}),
        Status.ALREADY_EXISTS,
      );
      servers[0]!.kill("SIGCONT");
    });

    for (const state of ["free", "left by a dead server"] as const) {
      it(`lets exactly one of ten servers win that start at once (the path ${state})`, async function () {
        this.timeout(60_000);
        const path = freshPath();
        const address = `unix:${path}`;
        if (state !== "free") {
          await serve(address);
          await kill(servers[0]!);
        }
        const said = await Promise.all(Array.from({ length: 10 }, () => serve(address)));
        expect(said.filter((line) => line === address)).to.have.length(1);
        for (const line of said) if (line !== address) expect(line).to.contain("ALREADY_EXISTS");
        const endpoint = new Endpoint(await connect(address)).start();
        endpoint.send(makeFrame(0, 100));
        await endpoint.received(1);
        expect(existsSync(`${path}.lock`)).to.equal(false);
      });
    }

    it("refuses where something else than a socket is, and leaves it as it was", async () => {
      const path = freshPath();
      writeFileSync(path, "precious");
      const error = await refusal(
        unix.listen(`unix:${path}`, () => {}, {}),
        Status.FAILED_PRECONDITION,
      );
      expect(error.message).to.contain(path).and.to.contain("not a socket");
      expect(readFileSync(path, "utf8")).to.equal("precious");

      const link = freshPath();
      symlinkSync(path, link);
      await refusal(
        unix.listen(`unix:${link}`, () => {}, {}),
        Status.FAILED_PRECONDITION,
      );
      expect(lstatSync(link).isSymbolicLink()).to.equal(true);
      expect(readFileSync(path, "utf8")).to.equal("precious");
    });

    it("does not follow a link at the lock's place", async () => {
      const path = freshPath();
      const precious = freshPath();
      writeFileSync(precious, "precious");
      symlinkSync(precious, `${path}.lock`);
      await refusal(
        unix.listen(`unix:${path}`, () => {}, {}),
        Status.INVALID_ARGUMENT,
      );
      expect(readFileSync(precious, "utf8")).to.equal("precious");
      rmSync(`${path}.lock`);
    });

    it("uses a lock file that a killed process left", async () => {
      const path = freshPath();
      writeFileSync(`${path}.lock`, "", { mode: 0o600 });
      await listen(`unix:${path}`);
      expect(existsSync(`${path}.lock`)).to.equal(false);
    });

    it("lets go of the lock also when somebody has removed its file", async () => {
      const path = freshPath();
      const lock = await lockFile(path, platform);
      rmSync(path);
      await lock.release();
      await (await lockFile(path, platform)).release();
      expect(existsSync(path)).to.equal(false);
    });

    it("waits while another process holds the lock", async function () {
      this.timeout(60_000);
      const path = freshPath();
      const holder = spawn("flock", [`${path}.lock`, "sh", "-c", "echo held; read line"], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      servers.push(holder);
      await once(holder.stdout, "data");
      let listening = false;
      const waiting = listen(`unix:${path}`).then(() => (listening = true));
      // As long as an attempt takes, and more.
      await refusal(unix.connect(`unix:${path}`, {}), Status.UNAVAILABLE);
      expect(listening).to.equal(false);
      holder.stdin.end("\n");
      await waiting;
    });
  });

  describe("errors", () => {
    it("says that a directory is missing", async () => {
      const path = join(freshPath(""), "a.sock");
      const error = await refusal(
        unix.listen(`unix:${path}`, () => {}, {}),
        Status.NOT_FOUND,
      );
      expect(error.message).to.contain(`the directory ${dirname(path)} does not exist`);
    });

    it("says that a directory takes no files, and not that it is missing", async () => {
      const options = { allowPeer: "any" };
      const error = await refusal(
        unix.listen("unix:/proc/a.sock", () => {}, options),
        Status.INVALID_ARGUMENT,
      );
      expect(error.message).to.contain("the directory /proc, although that exists");
    });

    it("says that nobody is there", async () => {
      const path = freshPath();
      const absent = await refusal(unix.connect(`unix:${path}`, {}), Status.UNAVAILABLE);
      expect(absent.message).to.contain(path).and.to.contain("ENOENT");
      await serve(`unix:${path}`);
      await kill(servers[0]!);
      const dead = await refusal(unix.connect(`unix:${path}`, {}), Status.UNAVAILABLE);
      expect(dead.message).to.contain(path).and.to.contain("ECONNREFUSED");
    });

    it("measures a path in bytes, before it touches anything", async () => {
      const directory = dirname(freshPath());
      const fits = `${directory}/${"ä".repeat(200)}`;
      const room = 107 - Buffer.byteLength(`${directory}/`);
      const longest = `${directory}/${"a".repeat(room)}`;
      await listen(`unix:${longest}`);
      await connect(`unix:${longest}`);
      for (const path of [`${longest}a`, fits]) {
        const error = await refusal(
          unix.listen(`unix:${path}`, () => {}, {}),
          Status.INVALID_ARGUMENT,
        );
        expect(error.message)
          .to.contain(String(Buffer.byteLength(path)))
          .and.to.contain("107");
      }
      expect(existsSync(`${longest}a.lock`)).to.equal(false);
    });

    it("refuses an allowPeer that it does not understand", async () => {
      const options = { allowPeer: "everyone" };
      for (const promise of [unix.connect("unix:/x", options), unix.listen("unix:/x", () => {}, options)]) {
        const error = await refusal(promise, Status.INVALID_ARGUMENT);
        expect(error.message).to.contain("allowPeer").and.to.contain('"everyone"').and.to.contain('"any"');
      }
    });

    it("says whose the socket is that this user may not connect to, and the remedy", async function () {
      if (!isRoot) this.skip();
      const path = freshPath();
      const address = `unix:${path}`;
      const options = { allowPeer: "any" };
      await listen(address, options);
      for (const [mode, directoryMode, ...told] of [
        [0o600, 0o711, "belongs to uid 0", "mode 0600", `uid ${STRANGER}`, "option allowPeer"],
        [0o644, 0o711, "belongs to uid 0", "mode 0644", `uid ${STRANGER}`, "umask"],
        [0o666, 0o700, `uid ${STRANGER} cannot look`, "directories"],
      ] as const) {
        chmodSync(path, mode);
        chmodSync(dirname(path), directoryMode);
        process.seteuid!(STRANGER);
        try {
          const attempts = [async () => unix.connect(address, options)];
          if (unix.connectSync) attempts.push(async () => unix.connectSync!(address, options, 1000));
          for (const attempt of attempts) {
            const { message } = await refusal(attempt(), Status.PERMISSION_DENIED);
            for (const text of [...told, "EACCES"]) expect(message).to.contain(text);
          }
        } finally {
          process.seteuid!(0);
          chmodSync(dirname(path), 0o700);
        }
      }
    });

    it("says that permission is missing", async function () {
      // Root may do everything, so a process of another user tries.
      if (!isRoot) this.skip();
      const directory = freshPath("");
      mkdirSync(directory, { mode: 0o700 });
      chmodSync(dirname(directory), 0o711);
      const said = await serve(`unix:${directory}/a`, STRANGER);
      chmodSync(dirname(directory), 0o700);
      expect(said).to.contain("PERMISSION_DENIED").and.to.contain(directory);
    });
  });

  if (name === "native") describeNative();
  else describeNode();

  function describeNative(): void {
    it("makes the socket with mode 0600", async () => {
      const path = freshPath();
      await listen(`unix:${path}`);
      expect(statSync(path).mode & 0o777).to.equal(0o600);
      const shared = freshPath();
      const umask = process.umask(0);
      try {
        await listen(`unix:${shared}`, { allowPeer: "any" });
        expect(statSync(shared).mode & 0o777).to.equal(0o666);
      } finally {
        process.umask(umask);
      }
    });

    it("knows the peer's pid, uid and gid at both ends", async () => {
      const address = `unix:${freshPath()}`;
      await serve(address);
      const { peer } = await connect(address);
      expect(peer).to.deep.equal({
        address,
        pid: servers[0]!.pid,
        uid: process.getuid!(),
        gid: process.getgid!(),
      });

      const own = `unix:@sluice-test-${basename(freshPath())}-${process.pid}`;
      const accepted = await listen(own);
      await connect(own);
      while (accepted.length === 0) await new Promise((resolve) => setImmediate(resolve));
      connections.push(...accepted);
      expect(accepted[0]!.peer).to.deep.equal({
        address: own,
        pid: process.pid,
        uid: process.getuid!(),
        gid: process.getgid!(),
      });
    });

    it("asks the function allowPeer at either end", async () => {
      const address = `unix:${freshPath()}`;
      const seen: Peer[] = [];
      const refuse = (peer: Peer): boolean => {
        seen.push(peer);
        return false;
      };
      const accepted = await listen(address, { allowPeer: refuse });
      const refused = new Endpoint(await connect(address)).start();
      await refused.closed;
      expect(accepted).to.deep.equal([]);

      const open = `unix:${freshPath()}`;
      await listen(open, { allowPeer: () => true });
      const error = await refusal(unix.connect(open, { allowPeer: refuse }), Status.PERMISSION_DENIED);
      expect(error.message).to.contain("allowPeer").and.to.contain(`uid ${process.getuid!()}`);
      expect(seen.map((peer) => peer.pid)).to.deep.equal([process.pid, process.pid]);
      await connect(open, { allowPeer: () => true });
    });

    it("passes on what the function allowPeer throws", async () => {
      const address = `unix:${freshPath()}`;
      await listen(address);
      const thrown = new Error("thrown by allowPeer");
      const options = {
        allowPeer: () => {
          throw thrown;
        },
      };
      const outcome: unknown = await unix.connect(address, options).catch((error: unknown) => error);
      expect(outcome).to.equal(thrown);
    });

    it("refuses another user's server unless allowed, and names both users", async function () {
      if (!isRoot) this.skip();
      const directory = freshPath("");
      mkdirSync(directory, { mode: 0o700 });
      chownSync(directory, STRANGER, STRANGER);
      chmodSync(dirname(directory), 0o711);
      const address = `unix:${directory}/a`;
      expect(await serve(address, STRANGER)).to.equal(address);
      const error = await refusal(unix.connect(address, {}), Status.PERMISSION_DENIED);
      expect(error.message).to.contain(`uid ${STRANGER}`).and.to.contain("uid 0").and.to.contain("allowPeer");
      const allowed = await connect(address, { allowPeer: (peer: Peer) => peer.uid === STRANGER });
      expect(allowed.peer.uid).to.equal(STRANGER);
    });

    it("refuses another user's process at an abstract name, which has no permissions", async function () {
      if (!isRoot) this.skip();
      const address = `unix:@sluice-test-${basename(freshPath())}-${process.pid}`;
      const accepted = await listen(address);
      const script = `require("net").connect("\\0${address.slice(6)}").on("error", () => {}).resume()`;
      const stranger = spawn(process.execPath, ["-e", script], { uid: STRANGER, stdio: "inherit" });
      expect(await once(stranger, "exit")).to.deep.equal([0, null]);
      expect(accepted).to.deep.equal([]);
    });

    it("does not remove what took its place", async () => {
      const path = freshPath();
      await listen(`unix:${path}`);
      rmSync(path);
      await listen(`unix:${path}`);
      await listeners[0]!.close();
      await connect(`unix:${path}`);
    });
  }

  function describeNode(): void {
    it("refuses a directory that others can enter", async () => {
      const directory = freshPath("");
      mkdirSync(directory);
      chmodSync(directory, 0o755);
      for (const promise of [
        unix.listen(`unix:${directory}/a`, () => {}, {}),
        unix.connect(`unix:${directory}/a`, {}),
      ]) {
        const error = await refusal(promise, Status.PERMISSION_DENIED);
        expect(error.message).to.contain(directory).and.to.contain("0755").and.to.contain("0700");
      }
      await listen(`unix:${directory}/a`, { allowPeer: "any" });
      await connect(`unix:${directory}/a`, { allowPeer: "any" });
      expect(statSync(`${directory}/a`).mode & 0o666).to.equal(0o666);
    });

    it("refuses a directory of another user, and one behind a link", async function () {
      const directory = freshPath("");
      mkdirSync(directory, { mode: 0o700 });
      const link = freshPath("");
      symlinkSync(directory, link);
      await refusal(
        unix.listen(`unix:${link}/a`, () => {}, {}),
        Status.PERMISSION_DENIED,
      );
      if (!isRoot) return;
      chownSync(directory, STRANGER, STRANGER);
      const error = await refusal(unix.connect(`unix:${directory}/a`, {}), Status.PERMISSION_DENIED);
      expect(error.message).to.contain(`uid ${STRANGER}`);
    });

    it("refuses what only the addon can do", async () => {
      for (const [address, options] of [
        ["unix:@name", {}],
        [`unix:${freshPath()}`, { allowPeer: () => true }],
      ] as const) {
        for (const promise of [unix.connect(address, options), unix.listen(address, () => {}, options)]) {
          const error = await refusal(promise, Status.UNIMPLEMENTED);
          expect(error.message).to.contain("@sluice/native");
        }
      }
    });
  }

  it("serves clients that only know sockets", async () => {
    const path = freshPath();
    const accepted = await listen(`unix:${path}`);
    const client = netConnect(path);
    client.write(makeFrame(3, 500));
    while (accepted.length === 0) await new Promise((resolve) => setImmediate(resolve));
    connections.push(...accepted);
    const endpoint = new Endpoint(accepted[0]!).start();
    await endpoint.received(1);
    expect(endpoint.frames).to.deep.equal([makeFrame(3, 500)]);
    client.destroy();
    await endpoint.closed;
  });

  it("does not take a foreign server for a dead one", async () => {
    const path = freshPath();
    const server = createServer().listen(path);
    await once(server, "listening");
    try {
      await refusal(
        unix.listen(`unix:${path}`, () => {}, {}),
        Status.ALREADY_EXISTS,
      );
      expect(existsSync(path)).to.equal(true);
    } finally {
      server.close();
    }
  });
});
