import { readFileSync } from "node:fs";
import { expect } from "chai";
import type { DatagramChannel, SystemError } from "@sluice/native";
import { native, needsAddon, openDescriptors } from "./support.js";

const HEADER_BYTES = 36;

interface Datagram {
  readonly bytes: Buffer;
  readonly port: number;
}

/** A channel with what it has received. */
class Socket {
  readonly channel: DatagramChannel;
  readonly port: number;
  readonly received: Datagram[] = [];
  readonly errors: SystemError[] = [];
  refusals = 0;
  /** How many datagrams had been received at the last refusal. */
  receivedBeforeRefusal = 0;
  #waiting: (() => void)[] = [];

  constructor(peerPort?: number, address = "127.0.0.1") {
    const wake = (): void => this.#waiting.splice(0).forEach((resolve) => resolve());
    this.channel = new native.DatagramChannel({ address, port: peerPort ?? 0 }, peerPort !== undefined, {
      onPackets: (end) => {
        this.#take(end);
        wake();
      },
      onRefused: () => {
        this.refusals++;
        this.receivedBeforeRefusal = this.received.length;
        wake();
      },
      onError: (error) => void this.errors.push(error),
    });
    const bound = this.channel.address();
    this.port = "port" in bound ? bound.port : 0;
    this.channel.start();
  }

  #take(end: number): void {
    const { buffer, byteOffset } = native.readSlab;
    const view = new DataView(buffer, byteOffset);
    for (let at = 0; at < end; at += view.getInt32(at, true)) {
      const last = at + HEADER_BYTES + view.getInt32(at + 4, true);
      for (let from = at + HEADER_BYTES; from < last; from += view.getInt32(at + 8, true)) {
        const to = Math.min(from + view.getInt32(at + 8, true), last);
        const bytes = Buffer.from(native.readSlab.slice(from, to));
        this.received.push({ bytes, port: view.getUint16(at + 14, true) });
      }
    }
  }

  async until(ready: () => boolean): Promise<void> {
    while (!ready()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Sends records: the datagrams of each are `segment` bytes long, but for the last. */
  send(...records: { data: Uint8Array; segment?: number; port?: number }[]): void {
    const memory = Buffer.alloc(512 * 1024);
    let at = 0;
    for (const { data, segment = data.length, port = 0 } of records) {
      const next = (HEADER_BYTES + data.length + 3) & ~3;
      for (const [index, word] of [next, data.length, segment].entries())
        memory.writeInt32LE(word, at + 4 * index);
      memory.writeUInt16LE(4, at + 12);
      memory.writeUInt16LE(port, at + 14);
      memory.set([127, 0, 0, 1], at + 16);
      memory.set(data, at + HEADER_BYTES);
      at += next;
    }
    this.channel.send(memory, at);
  }
}

describe("datagrams", function () {
  needsAddon(this);
  let sockets: Socket[] = [];
  const socket = (...args: ConstructorParameters<typeof Socket>): Socket => {
    const made = new Socket(...args);
    sockets.push(made);
    return made;
  };
  afterEach(() => {
    for (const { channel } of sockets) channel.close();
    sockets = [];
  });

  it("go both ways, with the address that they came from", async () => {
    const server = socket();
    const client = socket(server.port);
    client.send({ data: Buffer.from("one") }, { data: Buffer.from("two!") });
    await server.until(() => server.received.length === 2);
    expect(server.received.map(({ bytes }) => String(bytes))).to.deep.equal(["one", "two!"]);
    expect(server.received[0]!.port).to.equal(client.port);
    server.send({ data: Buffer.from("back"), port: client.port });
    await client.until(() => client.received.length === 1);
    expect(client.received).to.deep.equal([{ bytes: Buffer.from("back"), port: server.port }]);
  });

  it("keep their lengths when many leave in one record", async () => {
    const server = socket();
    const client = socket(server.port);
    const data = Buffer.alloc(40 * 1200 + 77);
    for (let index = 0; index < data.length; index++) data[index] = (index / 1200) & 0xff;
    client.send({ data, segment: 1200 }, { data: data.subarray(0, 3600), segment: 1200 });
    await server.until(() => server.received.length === 44);
    const lengths = server.received.map(({ bytes }) => bytes.length);
    expect(lengths).to.deep.equal([...Array<number>(40).fill(1200), 77, 1200, 1200, 1200]);
    expect(Buffer.concat(server.received.slice(0, 41).map(({ bytes }) => bytes)).equals(data)).to.equal(true);
  });

  it("wait for their reader: full packets for three quarters of the buffer", async () => {
    const server = socket();
    const client = socket(server.port);
    for (const [count, segment] of [
      [54, 1200],
      [4, 16_320],
      [1, 16_320],
    ] as const) {
      server.received.length = 0;
      const data = Buffer.alloc(count * segment);
      const records = Math.floor((server.channel.receiveBufferBytes() * 0.75) / data.length);
      expect(records).to.be.above(1);
      // Nothing is read before the end of this turn of the event loop.
      for (let sent = 0; sent < records; sent++) client.send({ data, segment });
      await server.until(() => server.received.length === records * count);
    }
  });

  it("that nobody receives are told of, connected or not", async () => {
    const gone = socket();
    gone.channel.close();
    const client = socket(gone.port);
    client.send({ data: Buffer.from("hello") });
    await client.until(() => client.refusals === 1);
    const server = socket();
    const good = socket();
    server.send({ data: Buffer.from("hello"), port: gone.port });
    await server.until(() => server.refusals === 1);
    // The error of one is no error of the next.
    server.send({ data: Buffer.from("a"), port: gone.port }, { data: Buffer.from("b"), port: good.port });
    server.send({ data: Buffer.from("c"), port: good.port });
    await good.until(() => good.received.length === 2);
    expect([...client.errors, ...server.errors]).to.deep.equal([]);
  });

  it("that cannot be sent are lost, and no others", async () => {
    const server = socket();
    const client = socket(server.port);
    // Longer than any datagram (EMSGSIZE).
    client.send({ data: Buffer.from("a") }, { data: Buffer.alloc(65_510) }, { data: Buffer.from("b") });
    await server.until(() => server.received.length === 2);
    expect(server.received.map(({ bytes }) => String(bytes))).to.deep.equal(["a", "b"]);
  });

  it("arrive whole up to the longest that the route carries", async () => {
    for (const [address, headers] of [
      ["127.0.0.1", 28],
      ["::1", 48],
    ] as const) {
      const server = socket(undefined, address);
      const client = socket(server.port, address);
      const mtu = Number(readFileSync("/sys/class/net/lo/mtu", "latin1"));
      const longest = Math.min(mtu, 65_535 + headers - 28) - headers;
      expect(client.channel.largestDatagram({ address: "192.0.2.1", port: 1 })).to.equal(longest);
      expect(server.channel.largestDatagram({ address, port: client.port })).to.equal(longest);
      const data = Buffer.alloc(longest, "0123456789");
      client.send({ data }, { data: Buffer.from("short") });
      await server.until(() => server.received.length === 2);
      expect(server.received[0]!.bytes.equals(data)).to.equal(true);
    }
    const closed = socket();
    closed.channel.close();
    expect(() => closed.channel.largestDatagram({ address: "::1", port: 1 })).to.throw(TypeError, "closed");
    const open = socket();
    expect(() => open.channel.largestDatagram({ address: "nowhere", port: 1 })).to.throw(TypeError);
  });

  it("that a peer sent before it went away are received before one to it is told to have been refused", async () => {
    const server = socket();
    const client = socket(server.port);
    // All in one turn of the event loop: the kernel has both for the client when it asks.
    server.send({ data: Buffer.from("my last"), port: client.port });
    server.channel.close();
    client.send({ data: Buffer.from("too late") });
    await client.until(() => client.refusals === 1);
    expect(client.receivedBeforeRefusal).to.equal(1);
    expect(String(client.received[0]!.bytes)).to.equal("my last");
  });

  it("in malformed records are refused", () => {
    const server = socket();
    const words = (...values: number[]): Uint8Array => {
      const memory = Buffer.alloc(64);
      for (const [index, value] of values.entries()) memory.writeInt32LE(value, 4 * index);
      return memory;
    };
    for (const memory of [
      words(64, 0, 10),
      words(64, 29, 29),
      words(64, 10, 0),
      words(40, 10, 10),
      words(-4, 4, 4),
    ]) {
      expect(() => server.channel.send(memory, 64)).to.throw(TypeError, "malformed record at byte 0");
    }
    expect(() => server.channel.send(words(64, 10, 10), 65)).to.throw(TypeError);
    expect(() => server.channel.send("text" as unknown as Uint8Array, 1)).to.throw(TypeError);
    server.channel.close();
    expect(() => server.channel.send(words(64, 10, 10), 64)).to.throw(TypeError, "closed");
  });

  it("need a free address", () => {
    const server = socket();
    const bind = (): Socket => {
      const handler = { onPackets() {}, onRefused() {}, onError() {} };
      new native.DatagramChannel({ address: "127.0.0.1", port: server.port }, false, handler).close();
      throw new Error("it was bound");
    };
    expect(bind).to.throw(Error, "EADDRINUSE");
  });

  it("leave no descriptor behind", () => {
    const before = openDescriptors().size;
    for (let count = 0; count < 50; count++) new Socket().channel.close();
    expect(openDescriptors().size).to.equal(before);
  });
});
