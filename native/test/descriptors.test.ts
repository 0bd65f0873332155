import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import {
  carriers,
  native,
  needsAddon,
  openDescriptors,
  Peer,
  runProgram,
  temporaryDirectory,
  turn,
} from "./support.js";

describe("descriptors", function () {
  needsAddon(this);

  let before: Map<number, string>;
  beforeEach(() => {
    before = openDescriptors();
  });
  afterEach(async function () {
    await turn();
    if (this.currentTest?.state === "passed") expect(openDescriptors(), "left open").to.deep.equal(before);
  });

  describe("passed over a channel", () => {
    function pair(maxDescriptors?: number): [Peer, Peer] {
      const [a, b] = native.socketPair();
      return [new Peer(a), new Peer(b, b, maxDescriptors === undefined ? {} : { maxDescriptors })];
    }
    const inode = (fd: number): number => Number(/\[(\d+)\]/.exec(openDescriptors().get(fd)!)![1]);

    it("arrive with their bytes, after earlier ones, and are the receiver's", async () => {
      const [left, right] = pair(2);
      const [reading, writing] = native.pipe2();
      left.write("first ");
      left.channel.sendDescriptors(Buffer.from("second"), [reading, writing]);
      left.write(" third");
      await right.untilReceived(18);
      expect(right.received.toString()).to.equal("first second third");
      expect(right.events.indexOf("descriptors")).to.be.lessThan(right.events.lastIndexOf("read"));
      expect(right.fds.map(inode)).to.deep.equal([reading, writing].map(inode));
      left.channel.close();
      right.channel.close();
      for (const fd of [reading, writing, ...right.fds]) native.closeFd(fd);
    });

    it("are closed unseen when none are expected, and the bytes arrive", async () => {
      const [left, right] = pair();
      left.channel.sendDescriptors(Buffer.from("bytes"), [0, 1, 2]);
      await right.untilReceived(5);
      expect(right.fds).to.deep.equal([]);
      left.channel.close();
      right.channel.close();
    });

    it("fail the channel when there are more than allowed", async () => {
      const [left, right] = pair(2);
      left.channel.sendDescriptors(Buffer.from("bytes"), [0, 1, 2]);
      await right.until(() => right.errors.length > 0);
      expect(right.errors[0].code).to.equal("EPROTO");
      expect(right.events).to.deep.equal(["error"]);
      left.channel.close();
    });

    it("are counted over the channel's whole life", async () => {
      const [left, right] = pair(1);
      left.channel.sendDescriptors(Buffer.from("1"), [0]);
      await right.untilReceived(1);
      left.channel.sendDescriptors(Buffer.from("2"), [0]);
      await right.untilReceived(2);
      expect(right.fds.length).to.equal(1);
      for (const peer of [left, right]) peer.channel.close();
      native.closeFd(right.fds[0]);
    });

    it("are not sent when the peer does not read", async () => {
      const [a, b] = native.socketPair();
      const left = new Peer(a);
      left.fill();
      expect(() => left.channel.sendDescriptors(Buffer.from("x"), [0]))
        .to.throw(/earlier bytes are still unsent/)
        .with.property("code", "EAGAIN");
      left.channel.close();
      native.closeFd(b);
    });

    it("are refused with a reason", () => {
      const [left, right] = pair();
      const send = left.channel.sendDescriptors.bind(left.channel) as (...args: unknown[]) => void;
      expect(() => send("x", [0])).to.throw(TypeError, "Uint8Array");
      expect(() => send(Buffer.from("x"), 0)).to.throw(TypeError, "array");
      expect(() => send(Buffer.alloc(0), [0])).to.throw(TypeError, "1 to 4096 bytes");
      expect(() => send(Buffer.alloc(4097), [0])).to.throw(TypeError, "1 to 4096 bytes");
      expect(() => send(Buffer.from("x"), [])).to.throw(TypeError, "1 to 253 descriptors");
      expect(() => send(Buffer.from("x"), Array(254).fill(0))).to.throw(TypeError, "1 to 253 descriptors");
      expect(() => send(Buffer.from("x"), ["0"])).to.throw(TypeError, "a descriptor must be an integer");
      expect(() => send(Buffer.from("x"), [9999])).to.throw("EBADF");
      left.channel.close();
      right.channel.close();
      expect(() => send(Buffer.from("x"), [0])).to.throw("closed");
      const [[reads, writes], others] = carriers["two pipes"]();
      const pipes = new Peer(reads, writes);
      expect(() => pipes.channel.sendDescriptors(Buffer.from("x"), [0])).to.throw("ENOTSOCK");
      pipes.channel.close();
      for (const fd of others) native.closeFd(fd);
      const [c, d] = native.pipe2();
      expect(() => new Peer(c, d, { maxDescriptors: 1 })).to.throw(TypeError, "only a Unix socket");
      native.closeFd(c);
      native.closeFd(d);
    });
  });

  it("pipe2 makes a real pipe, socketPair a socket pair, both blocking and not inherited", async () => {
    const [reading, writing] = native.pipe2();
    const [left, right] = native.socketPair();
    expect([reading, writing, left, right].map((fd) => native.fstatKind(fd))).to.deep.equal([
      "pipe",
      "pipe",
      "socket",
      "socket",
    ]);
    writeSync(writing, "through the pipe");
    const bytes = Buffer.alloc(100);
    expect(bytes.toString("utf8", 0, readSync(reading, bytes))).to.equal("through the pipe");
    native.setNonBlocking(reading, true);
    expect(() => readSync(reading, bytes)).to.throw("EAGAIN");
    const { stdout } = await runProgram("inherited");
    expect(JSON.parse(stdout)).to.not.include.members(
      [reading, writing, left, right].map((fd) => openDescriptors().get(fd)),
    );
    for (const fd of [reading, writing, left, right]) native.closeFd(fd);
  });

  it("fstatKind tells files, directories and devices apart", () => {
    for (const [path, kind] of [
      ["/proc/self/exe", "file"],
      ["/", "directory"],
      ["/dev/null", "device"],
    ] as const) {
      const fd = openSync(path, "r");
      expect(native.fstatKind(fd)).to.equal(kind);
      closeSync(fd);
    }
    expect(() => native.fstatKind(9999)).to.throw("fstat EBADF");
  });

  it("setCloseOnExec decides whether a program inherits", () => {
    const [reading, writing] = native.pipe2();
    const inherited = (): boolean =>
      /^flags:.*2\d{6}$/m.exec(readFileSync(`/proc/self/fdinfo/${writing}`, "utf8")) === null;
    expect(inherited()).to.be.false;
    native.setCloseOnExec(writing, false);
    expect(inherited()).to.be.true;
    native.setCloseOnExec(writing, true);
    expect(inherited()).to.be.false;
    native.closeFd(reading);
    native.closeFd(writing);
  });

  it("peerCredentials are the kernel's", () => {
    const [a, b] = native.socketPair();
    expect(native.peerCredentials(a)).to.deep.equal({
      pid: process.pid,
      uid: process.geteuid!(),
      gid: process.getegid!(),
    });
    expect(native.localAddress(a)).to.deep.equal({ path: "" });
    expect(native.peerAddress(b)).to.deep.equal({ path: "" });
    native.closeFd(a);
    native.closeFd(b);
    const [reading, writing] = native.pipe2();
    expect(() => native.peerCredentials(reading)).to.throw("ENOTSOCK");
    native.closeFd(reading);
    native.closeFd(writing);
  });

  it("sizes of buffers are what the kernel gives", () => {
    const [a, b] = native.socketPair();
    expect(native.setSendBuffer(a, 50_000)).to.be.at.least(50_000);
    expect(native.setReceiveBuffer(a, 50_000)).to.be.at.least(50_000);
    expect(() => native.setSendBuffer(a, 0)).to.throw(TypeError, "bytes must be an integer");
    for (const fd of [a, b]) native.closeFd(fd);
  });

  it("dup copies, and closeFd closes once", () => {
    const [reading, writing] = native.pipe2();
    const copy = native.dup(writing);
    expect(copy).to.be.at.least(3);
    native.closeFd(writing);
    writeSync(copy, "x");
    native.closeFd(copy);
    expect(() => native.closeFd(copy)).to.throw("close EBADF");
    native.closeFd(reading);
  });

  it("dup2 replaces a standard descriptor, which children inherit", async () => {
    const { stdout, stderr, code } = await runProgram("takeover");
    expect(stdout).to.equal("the saved standard output");
    expect(stderr).to.equal("a print of the program\na print of its child\n");
    expect(code).to.equal(0);
    expect(() => native.dup2(1, 1)).to.throw(TypeError);
  });

  describe("lockFile", () => {
    let directory: ReturnType<typeof temporaryDirectory>;
    let path: string;
    beforeEach(() => {
      directory = temporaryDirectory();
      path = join(directory.path, "lock");
    });
    afterEach(() => directory.remove());

    it("excludes everybody else until it is closed", () => {
      const lock = native.lockFile(path)!;
      expect(statSync(path).mode & 0o777).to.equal(0o600);
      expect(native.lockFile(path)).to.equal(undefined);
      unlinkSync(path);
      native.closeFd(lock);
      const again = native.lockFile(path)!;
      expect(existsSync(path)).to.be.true;
      native.closeFd(again);
    });

    it("ends with the process that held it", async () => {
      expect((await runProgram("lock", [path])).stdout).to.equal("locked");
      native.closeFd(native.lockFile(path)!);
    });

    it("does not follow symbolic links", () => {
      symlinkSync("elsewhere", path);
      expect(() => native.lockFile(path))
        .to.throw("ELOOP")
        .with.property("syscall", "open");
      expect(() => native.lockFile(join(directory.path, "none", "lock"))).to.throw("ENOENT");
    });
  });

  describe("files of an open directory", () => {
    let temporary: ReturnType<typeof temporaryDirectory>;
    let directory: number;
    beforeEach(() => {
      temporary = temporaryDirectory();
      directory = native.openDirectory(temporary.path);
    });
    afterEach(() => {
      native.closeFd(directory);
      temporary.remove();
    });

    it("FIFOs are made with their mode, opened without waiting, and removed", () => {
      native.makeFifoAt(directory, "fifo", 0o600);
      expect(statSync(join(temporary.path, "fifo")).mode & 0o777).to.equal(0o600);
      expect(() => native.makeFifoAt(directory, "fifo", 0o600)).to.throw("EEXIST");
      expect(() => native.openAt(directory, "fifo", "write")).to.throw("ENXIO");
      const fds = (["read", "write", "both", "look"] as const).map((access) =>
        native.openAt(directory, "fifo", access),
      );
      expect(fds.map((fd) => native.fstatKind(fd))).to.deep.equal(Array(4).fill("pipe"));
      for (const fd of fds) native.closeFd(fd);
      native.unlinkAt(directory, "fifo");
      expect(existsSync(join(temporary.path, "fifo"))).to.be.false;
    });

    it("names and arguments that cannot be are refused", () => {
      expect(() => native.openDirectory(join(temporary.path, "none"))).to.throw("ENOENT");
      expect(() => native.openAt(directory, "../fifo", "read")).to.throw(TypeError, "slash");
      expect(() => native.openAt(directory, "fifo", "execute" as "read")).to.throw(
        TypeError,
        "the access is",
      );
      expect(() => native.makeFifoAt(directory, "fifo", 0o1000)).to.throw(TypeError, "mode");
      expect(() => native.unlinkAt(directory, 7 as unknown as string)).to.throw(
        TypeError,
        "the name must be",
      );
    });
  });
});
