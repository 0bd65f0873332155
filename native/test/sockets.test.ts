import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import type {
  AcceptedPeer,
  SocketAddress,
  SocketConnector,
  SocketListener,
  SystemError,
} from "@sluice/native";
import {
  native,
  needsAddon,
  openDescriptors,
  Peer,
  program,
  runProgram,
  temporaryDirectory,
  turn,
} from "./support.js";

/** A listener with what it has accepted. */
class Server {
  readonly listener: SocketListener;
  readonly accepted: { fd: number; peer: AcceptedPeer }[] = [];
  readonly errors: SystemError[] = [];
  #waiting: (() => void)[] = [];

  constructor(address: SocketAddress, options?: ConstructorParameters<typeof native.SocketListener>[2]) {
    const handler = {
      onConnection: (fd: number, peer: AcceptedPeer) => {
        this.accepted.push({ fd, peer });
        this.#waiting.splice(0).forEach((resolve) => resolve());
      },
      onError: (error: SystemError) => void this.errors.push(error),
    };
    this.listener = new native.SocketListener(address, handler, options);
  }

  async untilAccepted(count: number): Promise<void> {
    while (this.accepted.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.listener.close();
    for (const { fd } of this.accepted.splice(0)) native.closeFd(fd);
  }
}

function connect(address: SocketAddress): { connector: SocketConnector; connected: Promise<number> } {
  let connector!: SocketConnector;
  const connected = new Promise<number>((resolve, reject) => {
    connector = new native.SocketConnector(address, { onConnect: resolve, onError: reject });
  });
  return { connector, connected };
}

async function failure(promise: Promise<unknown>): Promise<SystemError> {
  return promise.then(
    () => expect.fail("it did not fail"),
    (error: SystemError) => error,
  );
}

describe("sockets", function () {
  needsAddon(this);

  let directory: ReturnType<typeof temporaryDirectory>;
  let path: string;
  let before: Map<number, string>;
  beforeEach(() => {
    before = openDescriptors();
    directory = temporaryDirectory();
    path = join(directory.path, "socket");
  });
  afterEach(async function () {
    await turn();
    directory.remove();
    if (this.currentTest?.state === "passed") expect(openDescriptors(), "left open").to.deep.equal(before);
  });

  const addresses: Record<string, () => SocketAddress> = {
    "a Unix path": () => ({ path }),
    "an abstract name": () => ({ path: `@sluice-${process.pid}-${Date.now()}` }),
    "TCP over IPv4": () => ({ address: "127.0.0.1", port: 0 }),
    "TCP over IPv6": () => ({ address: "::1", port: 0 }),
  };

  for (const [kind, address] of Object.entries(addresses)) {
    describe(kind, () => {
      it("connects, tells who connected, and carries bytes", async () => {
        const server = new Server(address());
        const at = server.listener.address();
        const fd = await connect(at).connected;
        await server.untilAccepted(1);
        const { fd: accepted, peer } = server.accepted.pop()!;
        if ("path" in at) {
          const us = { pid: process.pid, uid: process.geteuid!(), gid: process.getegid!() };
          expect(peer).to.deep.equal(us);
          expect(native.peerCredentials(fd)).to.deep.equal(us);
        } else {
          expect(at.port).to.be.greaterThan(0);
          expect(peer).to.deep.equal(native.localAddress(fd));
        }
        expect(native.peerAddress(fd)).to.deep.equal(at);
        const [left, right] = [new Peer(fd), new Peer(accepted)];
        left.write("hello");
        await right.untilReceived(5);
        left.channel.close();
        right.channel.close();
        server.close();
      });

      it("is in use while somebody listens, and free again afterwards", async () => {
        const server = new Server(address());
        const at = server.listener.address();
        expect(() => new Server(at))
          .to.throw(/^bind EADDRINUSE: address already in use, /)
          .with.include({ code: "EADDRINUSE", syscall: "bind" });
        server.close();
        server.close();
        new Server(at).close();
        const refused = await failure(connect(at).connected);
        expect(refused.code).to.be.oneOf(["ECONNREFUSED", "ENOENT"]);
        expect(refused.syscall).to.equal("connect");
      });

      it("accepts a crowd", async () => {
        const server = new Server(address());
        const at = server.listener.address();
        const fds = await Promise.all(Array.from({ length: 200 }, () => connect(at).connected));
        await server.untilAccepted(200);
        for (const fd of fds) native.closeFd(fd);
        server.close();
      });

      it("stops accepting when closed by its own callback", async () => {
        let count = 0;
        const listener: SocketListener = new native.SocketListener(address(), {
          onConnection(fd) {
            native.closeFd(fd);
            count++;
            listener.close();
          },
          onError() {},
        });
        const at = listener.address();
        const outcomes = await Promise.allSettled(
          [connect(at), connect(at)].map(({ connected }) => connected),
        );
        await turn();
        expect(count).to.equal(1);
        for (const outcome of outcomes) if (outcome.status === "fulfilled") native.closeFd(outcome.value);
      });

      it("tells nothing of an attempt that was cancelled", async () => {
        const server = new Server(address());
        const told = () => expect.fail("told of a cancelled attempt");
        const handler = { onConnect: told, onError: told };
        const cancelled = new native.SocketConnector(server.listener.address(), handler);
        cancelled.cancel();
        cancelled.cancel();
        await turn();
        server.close();
      });
    });
  }

  it("a socket file is private from the start, and removed at the end", () => {
    const server = new Server({ path });
    expect(lstatSync(path).mode & 0o777).to.equal(0o600);
    server.close();
    expect(existsSync(path)).to.be.false;
    const wider = new Server({ path }, { mode: 0o660, backlog: 1 });
    expect(lstatSync(path).mode & 0o777).to.equal(0o660 & ~process.umask());
    wider.close();
  });

  it("a file that took the socket's place is left alone", () => {
    const server = new Server({ path });
    unlinkSync(path);
    writeFileSync(path, "somebody else's");
    server.close();
    expect(existsSync(path)).to.be.true;
    rmSync(path);
  });

  it("a full backlog is waited for", async () => {
    const server = new Server({ path }, { backlog: 1 });
    // All attempts come before the listener's turn.
    const attempts = Array.from({ length: 20 }, () => connect({ path }));
    const fds = await Promise.all(attempts.map(({ connected }) => connected));
    await server.untilAccepted(20);
    for (const fd of fds) native.closeFd(fd);
    server.close();
  });

  it("waiting for a full backlog can be cancelled, and ends when the listener dies, or after 10 s", async () => {
    const stuck = spawn(process.execPath, [program("stuck"), path], { stdio: ["ignore", "pipe", "inherit"] });
    const died = once(stuck, "close");
    try {
      await once(stuck.stdout, "data");
      const filling: number[] = [];
      const told: string[] = [];
      // The queue of a listener that accepts nobody has room for one more than its backlog.
      for (let count = 0; count < 2; count++) filling.push(await connect({ path }).connected);
      const handler = { onConnect: () => told.push("connected"), onError: () => told.push("failed") };
      const cancelled = new native.SocketConnector({ path }, handler);
      const failing = failure(connect({ path }).connected);
      await turn();
      cancelled.cancel();
      const error = await failing;
      expect(error).to.include({ code: "EAGAIN", syscall: "connect" });
      expect(error.message).to.include("its backlog stayed full");
      const { connected } = connect({ path });
      stuck.kill("SIGKILL");
      expect((await failure(connected)).code).to.equal("ECONNREFUSED");
      expect(told).to.deep.equal([]);
      for (const fd of filling) native.closeFd(fd);
    } finally {
      stuck.kill("SIGKILL");
      await died;
    }
  });

  it("a process without descriptors says so, does not spin, and goes on when it has some", async () => {
    const { code, stdout, stderr } = await runProgram("exhausted", [path], { shell: "ulimit -n 64" });
    expect(stderr).to.equal("");
    expect(JSON.parse(stdout)).to.deep.equal({
      code: "EMFILE",
      afterClose: true,
      spins: false,
      receiving: "EMFILE",
    });
    expect(code).to.equal(0);
  });

  it("addresses are checked", () => {
    const listen = (address: unknown, options?: object): unknown =>
      new Server(address as SocketAddress, options);
    expect(() => listen({ path: "x".repeat(108) })).to.throw(
      TypeError,
      "108 bytes long, but the kernel takes at most 107",
    );
    expect(() => listen({ path: "" })).to.throw(TypeError, "needs a path or an @NAME");
    expect(() => listen({ path: "a\0b" })).to.throw(TypeError, "NUL");
    expect(() => listen({ address: "localhost", port: 1 })).to.throw(
      TypeError,
      '"localhost" is not a numeric',
    );
    expect(() => listen({ address: "127.0.0.1", port: 65536 })).to.throw(
      TypeError,
      "port must be an integer",
    );
    expect(() => listen({ address: "127.0.0.1" })).to.throw(TypeError, "port must be an integer");
    expect(() => listen("x")).to.throw(TypeError, "a socket address is");
    expect(() => listen({ path }, { backlog: 0 })).to.throw(TypeError, "backlog must be an integer");
    expect(() => listen({ path }, { mode: 0o1000 })).to.throw(TypeError, "mode must be an integer");
    expect(() => listen({ path: join(path, "none") })).to.throw("bind ENOENT");
    expect(() => new native.SocketConnector("x" as never, { onConnect() {}, onError() {} })).to.throw(
      TypeError,
    );
    expect(() => new native.SocketConnector({ path }, {} as never)).to.throw(
      TypeError,
      "no method onConnect",
    );
  });

  it("a listener and an attempt keep the process alive until they are done, or unreferenced", async () => {
    const { code, stdout } = await runProgram("alive", [path]);
    expect(stdout).to.equal("connected\naccepted\n");
    expect(code).to.equal(0);
  });
});
