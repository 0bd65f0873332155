import { createHash, randomBytes } from "node:crypto";
import { AsyncLocalStorage } from "node:async_hooks";
import { openSync } from "node:fs";
import { expect } from "chai";
import type { ByteChannel, ByteHandler } from "@sluice/native";
import { carriers, native, needsAddon, openDescriptors, Peer, runProgram, turn } from "./support.js";

describe("ByteChannel", function () {
  needsAddon(this);

  for (const [carrier, connect] of Object.entries(carriers)) {
    describe(`over ${carrier}`, () => {
      let left: Peer;
      let right: Peer;

      beforeEach(() => {
        const [leftFds, rightFds] = connect();
        left = new Peer(...leftFds);
        right = new Peer(...rightFds, { start: false });
      });

      afterEach(() => {
        left?.channel.close();
        right?.channel.close();
      });

      it("carries bytes both ways, in order", async () => {
        right.channel.start();
        right.onData = (bytes) => right.write(bytes);
        const sent = randomBytes(1000);
        for (let at = 0; at < sent.length; at += 10) {
          left.write(sent.subarray(at, at + 10));
          if (at % 100 === 0) await turn();
        }
        await left.untilReceived(sent.length);
        expect(left.received.equals(sent)).to.be.true;
      });

      it("sends what one turn wrote in one piece", async () => {
        right.channel.start();
        for (let count = 0; count < 100; count++) left.write("x".repeat(10));
        await right.untilReceived(1000);
        expect(right.reads).to.equal(1);
      });

      it("sends what a callback's microtasks wrote before the next phase of the loop", async () => {
        right.channel.start();
        const freed = new Promise<boolean>((resolve) => {
          right.onData = () => {
            void Promise.resolve().then(() => right.write("reply"));
            process.nextTick(() => right.write(" and more"));
            setImmediate(() => resolve(!right.owns));
          };
        });
        left.write("request");
        expect(await freed).to.be.true;
        await left.untilReceived(14);
        expect(left.received.toString()).to.equal(" and morereply");
      });

      it("sends what a timer wrote", async () => {
        right.channel.start();
        setTimeout(() => left.write("x"), 1);
        await right.untilReceived(1);
      });

      it("sends at once when flushed", async () => {
        right.channel.start();
        left.write("x");
        expect(left.owns).to.be.true;
        left.channel.flush();
        expect(left.owns).to.be.false;
        await right.untilReceived(1);
      });

      it("waits for room and loses nothing, both ways at once", async function () {
        right.channel.start();
        this.timeout(60_000);
        const bytes = randomBytes(16 << 20);
        const digest = createHash("sha256").update(bytes).digest("hex");
        const hashes = [left, right].map((peer) => {
          const hash = createHash("sha256");
          let total = 0;
          peer.onData = (chunk) => {
            hash.update(chunk);
            total += chunk.length;
          };
          return { hash, done: () => peer.until(() => total === bytes.length) };
        });
        await Promise.all([left, right].map((peer) => peer.writeAll(bytes)));
        await Promise.all(hashes.map(({ done }) => done()));
        expect(hashes.map(({ hash }) => hash.digest("hex"))).to.deep.equal([digest, digest]);
      });

      it("keeps its slab while the peer does not read, and takes more at its end meanwhile", async () => {
        let unread = left.fill();
        await turn();
        const { words, memory } = left.slab;
        expect(words[0]).to.be.lessThan(words[1]);
        expect(words[1]).to.equal(memory.length);
        expect(left.events).to.deep.equal([]);
        right.onData = (bytes) => (unread -= bytes.length);
        right.channel.start();
        await left.drained();
        await right.until(() => unread === 0);
        expect(left.owns).to.be.false;
      });

      it("tells writable once per request, and never from inside", async () => {
        left.channel.wantWritable();
        expect(left.events).to.deep.equal([]);
        await left.until(() => left.events.length === 1);
        left.write("x");
        left.channel.wantWritable();
        left.channel.wantWritable();
        left.channel.flush();
        expect(left.events).to.deep.equal(["writable"]);
        await left.until(() => left.events.length === 2);
        await turn();
        expect(left.events).to.deep.equal(["writable", "writable"]);
      });

      it("tells the end of file once, after all bytes, and can still be written to", async () => {
        right.channel.start();
        left.write("last words");
        left.channel.shutdownWrite();
        left.channel.shutdownWrite();
        expect(() => left.channel.acquire()).to.throw("shut down for writing");
        await right.until(() => right.events.includes("end"));
        expect(right.received.toString()).to.equal("last words");
        right.write("answer");
        await left.untilReceived(6);
        right.channel.close();
        await left.until(() => left.events.includes("end"));
        await turn();
        expect(left.events).to.deep.equal(["read", "end"]);
        expect(right.events).to.deep.equal(["read", "end"]);
      });

      it("sends what waits for room before it ends", async () => {
        let unread = left.fill();
        left.channel.shutdownWrite();
        right.onData = (chunk) => (unread -= chunk.length);
        right.channel.start();
        await right.until(() => right.events.includes("end"));
        expect(unread).to.equal(0);
      });

      it("reports EPIPE once, later, after delivering what can be read", async () => {
        right.write("farewell");
        right.channel.flush();
        right.channel.close();
        left.write("x");
        left.channel.flush();
        expect(left.events).to.deep.equal([]);
        expect(left.owns).to.be.false;
        left.write("into the void");
        await left.until(() => left.errors.length > 0);
        await turn();
        expect(left.received.toString()).to.equal("farewell");
        expect(left.events).to.deep.equal(["read", "error"]);
        expect(left.errors[0]).to.include({ code: "EPIPE", errno: -32 });
        expect(left.errors[0].message).to.match(/^(send|write) EPIPE: broken pipe/);
        expect(() => left.channel.acquire()).to.throw("closed");
      });

      it("reports the failure alone when the end of file is found with it", async () => {
        right.channel.close();
        left.write("x");
        left.channel.flush();
        await left.until(() => left.errors.length > 0);
        await turn();
        expect(left.events).to.deep.equal(["error"]);
      });

      it("reports a peer that goes away while bytes wait for room", async () => {
        left.fill();
        right.channel.close();
        await left.until(
          () => left.errors.length + left.events.filter((event) => event === "end").length > 0,
        );
        // A pipe's end of file may be seen before its broken other half; a socket has one state for both.
        await left.until(() => left.errors.length > 0);
        expect(left.errors[0].code).to.be.oneOf(["EPIPE", "ECONNRESET"]);
        expect(left.owns).to.be.false;
      });

      it("may be closed by any of its callbacks", async () => {
        for (const event of ["read", "writable", "end"]) {
          const [leftFds, rightFds] = connect();
          const closing = new Peer(...leftFds);
          const other = new Peer(...rightFds);
          const closed = closing.until(() => {
            if (!closing.events.includes(event)) return false;
            closing.channel.close();
            return true;
          });
          other.write("some bytes");
          closing.channel.wantWritable();
          other.channel.shutdownWrite();
          await closed;
          const told = closing.events.length;
          await turn();
          expect(closing.events.length, event).to.equal(told);
          other.channel.close();
        }
      });

      it("tells nothing after close, and close is idempotent", async () => {
        right.channel.start();
        right.write("never seen");
        right.channel.flush();
        left.channel.wantWritable();
        left.write("never sent");
        left.channel.close();
        left.channel.close();
        left.channel.flush();
        left.channel.wantWritable();
        left.channel.shutdownWrite();
        left.channel.ref();
        left.channel.unref();
        await right.until(() => right.events.includes("end") || right.errors.length > 0);
        expect(left.events).to.deep.equal([]);
        expect(right.received.length).to.equal(0);
        expect(() => left.channel.acquire()).to.throw("closed");
      });

      it("gives the reader its incomplete frames back, whatever else was read meanwhile", async () => {
        const [otherFds, writerFds] = connect();
        const writer = new Peer(...writerFds);
        const frames: string[] = [];
        let saved = Buffer.alloc(0);
        // Frames end with a newline.
        const handler: ByteHandler = {
          onRead(end) {
            native.readSlab.set(saved);
            const text = Buffer.from(native.readSlab.subarray(0, end)).toString();
            const whole = text.lastIndexOf("\n") + 1;
            frames.push(...text.slice(0, whole).split("\n").slice(0, -1));
            saved = Buffer.from(text.slice(whole));
            return saved.length;
          },
          onWritable() {},
          onEnd() {},
          onError() {},
        };
        const reader = new native.ByteChannel(...otherFds, handler);
        reader.start();
        for (const piece of ["fir", "st\nsec", "on", "d\nthird\n", "rest"]) {
          writer.write(piece);
          writer.channel.flush();
          left.write("noise that overwrites the slab");
          left.channel.flush();
          await turn();
          await turn();
        }
        expect(frames).to.deep.equal(["first", "second", "third"]);
        expect(saved.toString()).to.equal("rest");
        reader.close();
        writer.channel.close();
      });
    });
  }

  it("leaves what lies beyond maxReadBytes in a pipe, for whoever it is detached for", async () => {
    const [reading, writing] = native.pipe2();
    const writer = new Peer(writing, writing, {});
    writer.write("!the rest");
    const detached = new Promise<number>((resolve, reject) => {
      const handler: ByteHandler = {
        onRead(end) {
          expect(Buffer.from(native.readSlab.subarray(0, end)).toString()).to.equal("!");
          resolve(channel.detach());
          return 0;
        },
        onWritable() {},
        onEnd: () => reject(new Error("the end")),
        onError: reject,
      };
      const channel = new native.ByteChannel(reading, reading, handler, { maxReadBytes: 1 });
      channel.start();
    });
    const fd = await detached;
    const bytes = new Uint8Array(100);
    expect(Buffer.from(bytes.subarray(0, native.blocking.read(fd, bytes, 0))).toString()).to.equal(
      "the rest",
    );
    native.closeFd(fd);
    writer.channel.close();
  });

  it("tells when nobody reads any more what a descriptor for writing writes to", async () => {
    const [reading, writing] = native.pipe2();
    const told = new Promise<Error>((resolve) => {
      const unexpected = () => resolve(new Error("something else was told"));
      const handler = {
        onRead: () => (unexpected(), 0),
        onWritable() {},
        onEnd: unexpected,
        onError: resolve,
      };
      new native.ByteChannel(writing, writing, handler).start();
    });
    native.closeFd(reading);
    expect((await told).message).to.contain("EBADF");
  });

  describe("failures", () => {
    it("reports ECONNRESET when the peer closed without reading", async () => {
      const [a, b] = native.socketPair();
      const left = new Peer(a);
      left.write("unread");
      left.channel.flush();
      native.closeFd(b);
      await left.until(() => left.errors.length > 0);
      expect(left.errors[0]).to.include({ code: "ECONNRESET", syscall: "recv" });
      expect(left.events).to.deep.equal(["error"]);
    });

    it("reports EPIPE of one pipe though the other stays open", async () => {
      const [reads, otherWrites] = native.pipe2();
      const [otherReads, writes] = native.pipe2();
      const left = new Peer(reads, writes);
      native.closeFd(otherReads);
      left.write("x");
      await left.until(() => left.errors.length > 0);
      expect(left.errors[0]).to.include({ code: "EPIPE", syscall: "write" });
      native.closeFd(otherWrites);
    });

    it("closes the channel and raises an uncaught exception when onRead throws", async () => {
      const { code, stdout, stderr } = await runProgram("throwing", ["main"]);
      expect(stderr).to.equal("");
      expect(stdout).to.equal("uncaught: Error: thrown by onRead\nthe channel is closed\n");
      expect(code).to.equal(0);
    });

    it("ends a worker with the error that its onRead throws", async () => {
      const { code, stdout, stderr } = await runProgram("throwing", ["worker"]);
      expect(stderr).to.equal("");
      expect(stdout).to.equal("worker: Error: thrown by onRead\n");
      expect(code).to.equal(0);
    });

    it("ends the process with the error when nobody catches it", async () => {
      const { code, stderr } = await runProgram("throwing", ["uncaught"]);
      expect(stderr).to.include("Error: thrown by onRead");
      expect(code).to.equal(1);
    });

    for (const value of [-1, 1e6, 1.5e9, "x", undefined]) {
      it(`refuses ${String(value)} as what onRead returns`, async () => {
        const { code, stdout } = await runProgram("throwing", ["carry", String(value)]);
        expect(stdout).to.include("uncaught: RangeError: onRead must return how many");
        expect(code).to.equal(0);
      });
    }
  });

  it("makes a pipe that is full hold four times as much", async () => {
    const [leftFds, rightFds] = carriers["two pipes"]!();
    const left = new Peer(...leftFds);
    const right = new Peer(...rightFds, { start: false });
    const written = left.fill();
    const { words } = left.slab;
    expect(written - (words[1]! - words[0]!)).to.equal(256 << 10);
    left.channel.close();
    right.channel.close();
  });

  describe("construction", () => {
    const handler: ByteHandler = { onRead: () => 0, onWritable() {}, onEnd() {}, onError() {} };

    it("takes nothing when it throws", async () => {
      const before = openDescriptors();
      const [a, b] = native.socketPair();
      const first = new native.ByteChannel(a, a, handler);
      const file = openSync("/proc/self/exe", "r");
      expect(() => new native.ByteChannel(a, b, handler)).to.throw("EEXIST");
      expect(() => new native.ByteChannel(b, file, handler)).to.throw(
        /EPERM.*cannot be polled: it is a file/,
      );
      expect(() => new native.ByteChannel(9999, 9999, handler)).to.throw("EBADF");
      await turn();
      const second = new native.ByteChannel(b, b, handler);
      second.close();
      first.close();
      native.closeFd(file);
      await turn();
      expect(openDescriptors()).to.deep.equal(before);
    });

    it("says which argument is wrong", () => {
      const [a, b] = native.socketPair();
      const make = (...args: unknown[]): ByteChannel =>
        new native.ByteChannel(...(args as ConstructorParameters<typeof native.ByteChannel>));
      expect(() => make("1", a, handler)).to.throw(TypeError, "readFd must be an integer");
      expect(() => make(a, -1, handler)).to.throw(TypeError, "writeFd must be an integer");
      expect(() => make(a, a, undefined)).to.throw(TypeError, "the handler must be an object");
      expect(() => make(a, a, { ...handler, onEnd: undefined })).to.throw(TypeError, "no method onEnd");
      expect(() => make(a, a, handler, { maxDescriptors: 254 })).to.throw(TypeError, "maxDescriptors");
      expect(() => make(a, a, handler, { maxReadBytes: 0 })).to.throw(TypeError, "maxReadBytes");
      expect(() => make(a, a, handler, { maxDescriptors: 1 })).to.throw(TypeError, "no method onDescriptors");
      native.closeFd(a);
      native.closeFd(b);
    });

    it("numbers channels from 1", () => {
      const [a, b] = native.socketPair();
      const channels = [new native.ByteChannel(a, a, handler), new native.ByteChannel(b, b, handler)];
      expect(channels[0].id).to.be.greaterThan(0);
      expect(channels[1].id).to.be.greaterThan(channels[0].id);
      for (const channel of channels) channel.close();
    });

    it("keeps the async context in which it was made", async () => {
      const storage = new AsyncLocalStorage<string>();
      const [a, b] = native.socketPair();
      const seen = new Promise<string | undefined>((resolve) => {
        storage.run("made here", () => {
          const channel: ByteChannel = new native.ByteChannel(a, a, {
            ...handler,
            onEnd() {
              resolve(storage.getStore());
              channel.close();
            },
          });
          channel.start();
        });
      });
      native.closeFd(b);
      expect(await seen).to.equal("made here");
    });
  });

  describe("slabs", () => {
    let pairs: [Peer, Peer][];

    beforeEach(() => {
      pairs = Array.from({ length: 40 }, () => {
        const [a, b] = native.socketPair();
        return [new Peer(a), new Peer(b)];
      });
    });

    afterEach(() => {
      for (const pair of pairs) for (const peer of pair) peer.channel.close();
    });

    it("are few, however many channels write in one turn", async () => {
      const buffers = new Set(
        pairs.map(([writer], index) => {
          writer.write(`from ${index}`);
          return writer.slab.memory.buffer;
        }),
      );
      expect(buffers.size).to.be.at.most(9);
      for (const [index, [, reader]] of pairs.entries()) {
        await reader.untilReceived(6);
        expect(reader.received.toString()).to.equal(`from ${index}`);
      }
    });

    it("are neither sent nor freed while held", async () => {
      const [first, firstReader] = pairs[0];
      first.write("before ");
      const { words, memory } = first.slab;
      words[3] = 1;
      const end = words[1];
      for (const [writer] of pairs.slice(1)) writer.write("x");
      first.channel.flush();
      expect(first.owns).to.be.true;
      expect(words[0]).to.equal(16);
      memory.set(Buffer.from("after"), end);
      words[1] = end + 5;
      words[3] = 0;
      for (const [, reader] of pairs.slice(1)) await reader.untilReceived(1);
      await firstReader.untilReceived(12);
      expect(firstReader.received.toString()).to.equal("before after");
    });

    it("are not freed twice when a turn leaves one held by mistake", async () => {
      const [writer, reader] = pairs[0];
      writer.write("x");
      writer.slab.words[3] = 1;
      await reader.untilReceived(1);
      expect(writer.owns).to.be.false;
    });

    it("fail their channel when START or END was corrupted", async () => {
      const [writer, reader] = pairs[0];
      writer.slab.words[1] = 1 << 30;
      await writer.until(() => writer.errors.length > 0);
      expect(writer.errors[0].code).to.equal("EINVAL");
      await reader.until(() => reader.events.includes("end"));
      expect(reader.received.length).to.equal(0);
    });
  });
});
