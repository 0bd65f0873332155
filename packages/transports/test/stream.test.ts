import { once } from "node:events";
import { connect as netConnect, type Socket } from "node:net";
import { setImmediate, setTimeout } from "node:timers/promises";
import { expect } from "chai";
import { RpcError, type Listener } from "@sluice/core";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { freshPath } from "./subjects.js";
import { describeVariants } from "./variants.js";

/** Frames as bytes: what a peer that keeps no rules can do to a stream. The peer is a plain socket. */
describeVariants("frames over a stream", ({ transports: { unix } }) => {
  let listener: Listener;
  let endpoint: Endpoint;
  let raw: Socket;

  beforeEach(async () => {
    const path = freshPath();
    const accepted = new Promise<Endpoint>((resolve, reject) => {
      unix
        .listen(`unix:${path}`, (connection) => resolve(new Endpoint(connection).start()), {})
        .then((made) => {
          listener = made;
          raw = netConnect({ path, allowHalfOpen: true });
        }, reject);
    });
    endpoint = await accepted;
    raw.on("error", () => {});
  });

  afterEach(async () => {
    raw.destroy();
    endpoint.destroy();
    await endpoint.closed;
    await listener.close();
  });

  it("finds the frames however the bytes are cut", async () => {
    const frames = [12, 13, 40, 12, 300].map((bytes, i) => makeFrame(i, bytes));
    const bytes = Buffer.concat(frames);
    let expected = 0;
    for (const step of [1, 5, 11, 12, 13, 100]) {
      for (let at = 0; at < bytes.length; at += step) {
        raw.write(bytes.subarray(at, at + step));
        await setImmediate();
      }
      expected += frames.length;
      await endpoint.received(expected);
    }
    for (const [i, frame] of endpoint.frames.entries())
      expect(frame).to.deep.equal(frames[i % frames.length]);
    expect(endpoint.violations).to.deep.equal([]);
  });

  it("keeps the rests of many connections apart", async () => {
    // Each has received half a frame while the other halves come.
    const path = (raw.address() as unknown, listener.address.slice(5));
    const others: Endpoint[] = [];
    await listener.close();
    listener = await unix.listen(
      `unix:${path}`,
      (connection) => void others.push(new Endpoint(connection).start()),
      {},
    );
    const sockets = Array.from({ length: 10 }, () => netConnect(path));
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    const frames = sockets.map((_, i) => makeFrame(i, 30_000 + i));
    for (const part of [
      [0, 5],
      [5, 700],
      [700, 20_000],
      [20_000, 40_000],
    ]) {
      for (const [i, socket] of sockets.entries()) socket.write(frames[i]!.subarray(...part));
      await setTimeout(1);
    }
    while (others.length < sockets.length) await setImmediate();
    await Promise.all(others.map((other) => other.received(1)));
    const sizes = others.map((other) => other.frames[0]!.length).sort();
    expect(sizes).to.deep.equal(frames.map((frame) => frame.length));
    for (const other of others) {
      const frame = other.frames[0]!;
      expect(Buffer.compare(frame, makeFrame(frame.length - 30_000, frame.length))).to.equal(0);
    }
    for (const socket of sockets) socket.destroy();
    await Promise.all(others.map((other) => other.closed));
  });

  it("hands over the header alone of a frame that is too long, and is deaf to the rest", async () => {
    const { maxFrameBytes } = endpoint.connection.traits;
    const lengths: number[] = [];
    endpoint.consume = (_memory, start, end) => {
      lengths.push(end - start);
      // As a session says why, and ends the connection.
      if (lengths.length === 2) {
        endpoint.send(makeFrame(0, 50));
        endpoint.close();
      }
    };
    const bad = makeFrame(1, 12);
    new DataView(bad.buffer).setUint32(0, maxFrameBytes - 12 + 1, true);
    raw.write(Buffer.concat([makeFrame(0, 20), bad, makeFrame(2, 20), makeFrame(3, 20)]));
    const [answer] = (await once(raw, "data")) as [Buffer];
    expect(Buffer.compare(answer, makeFrame(0, 50))).to.equal(0);
    raw.end();
    expect(await endpoint.closed).to.equal(undefined);
    expect(lengths).to.deep.equal([20, 12]);
  });

  for (const length of [0x7fffffff, 0x80000000, 0xffffffff]) {
    it(`does not wait for a frame of ${length} bytes`, async () => {
      endpoint.consume = () => {};
      const bad = Buffer.alloc(12);
      bad.writeUInt32LE(length, 0);
      raw.write(bad);
      await endpoint.received(1);
      raw.end("more");
      await endpoint.closed;
      expect(endpoint.frameCount).to.equal(1);
    });
  }

  it("takes the largest frame", async () => {
    const { maxFrameBytes } = endpoint.connection.traits;
    raw.write(makeFrame(9, maxFrameBytes));
    await endpoint.received(1);
    expect(endpoint.frames).to.deep.equal([makeFrame(9, maxFrameBytes)]);
  });

  it("tells a peer that ends between frames from one that ends inside of one", async () => {
    raw.end(makeFrame(0, 100));
    expect(await endpoint.closed).to.equal(undefined);
    expect(endpoint.frameCount).to.equal(1);
  });

  for (const bytes of [1, 11, 12, 99]) {
    it(`says that the peer ended inside a frame, after ${bytes} bytes of it`, async () => {
      raw.end(Buffer.concat([makeFrame(0, 50), makeFrame(1, 100).subarray(0, bytes)]));
      const error = await endpoint.closed;
      expect(error).to.be.instanceOf(RpcError);
      expect((error as RpcError).codeName).to.equal("UNAVAILABLE");
      expect(error!.message).to.contain("inside a frame");
      expect(endpoint.frameCount).to.equal(1);
    });
  }

  it("closes though the peer never reads, and says what was not delivered", async function () {
    this.timeout(30_000);
    while (endpoint.send(makeFrame(0, 50_000))) {}
    endpoint.flush();
    while (endpoint.send(makeFrame(0, 50_000))) {}
    endpoint.close();
    const error = await endpoint.closed;
    expect(error).to.be.instanceOf(RpcError);
    expect(error!.message).to.match(/^closed with \d+ bytes unsent/);
  });

  it("closes though the peer never closes", async function () {
    this.timeout(30_000);
    let read = 0;
    raw.on("data", (chunk: Buffer) => (read += chunk.length));
    let sent = 0;
    for (; endpoint.send(makeFrame(0, 50_000)); sent += 50_000);
    endpoint.close();
    expect(await endpoint.closed).to.equal(undefined);
    expect(read).to.equal(sent);
  });

  it("waits for a peer that reads slowly, as long as it reads at all", async function () {
    this.timeout(60_000);
    let sent = 0;
    for (; endpoint.send(makeFrame(0, 50_000)); sent += 50_000);
    endpoint.flush();
    await setImmediate();
    for (; endpoint.send(makeFrame(0, 50_000)); sent += 50_000);
    endpoint.close();
    let read = 0;
    raw.pause();
    raw.on("readable", () => {});
    const ended = once(raw, "end");
    // In all longer than a peer that takes nothing is waited for.
    for (let i = 0; i < 12; i++) {
      await setTimeout(500);
      read += (raw.read(300_000) as Buffer | null)?.length ?? 0;
    }
    expect(endpoint.closeCount).to.equal(0);
    raw.removeAllListeners("readable");
    raw.on("data", (chunk: Buffer) => (read += chunk.length));
    raw.resume();
    await ended;
    raw.end();
    expect(await endpoint.closed).to.equal(undefined);
    expect(read).to.equal(sent);
  });
});
