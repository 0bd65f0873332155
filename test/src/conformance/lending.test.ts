/** Bytes that are lent instead of copied, on carriers that can; on all others `lendBytes` changes nothing. */
import { expect } from "chai";
import { Status, type CallOptions, type Client } from "@sluice/node";
import { LenderDefinition, ProbeDefinition, type Chunk } from "../gen/sluice/testing/probe.js";
import { pattern } from "../payload.js";
import { collect, distinct, failure, onEveryCarrier, sharedLink, SOON } from "../suite.js";
import { within } from "../within.js";

const KIB = 1024;
/** Some are copied in any case; some fit a block, and some neither that nor a stream's window. */
const SIZES = [10, 64 * KIB - 1, 64 * KIB, 70_000, 300 * KIB, 1024 * KIB, 1500 * KIB, 3000 * KIB];

onEveryCarrier(
  "lending",
  (carrier) => {
    const link = sharedLink(carrier);
    const lends = carrier.lends === true;
    let lender: Client<typeof LenderDefinition>;
    let probe: Client<typeof ProbeDefinition>;
    before(() => {
      lender = link().channel.client(LenderDefinition);
      probe = link().channel.client(ProbeDefinition);
    });

    const chunk = (index: number, bytes: number): Chunk => ({
      index,
      body: pattern(bytes, index),
      hold: "Ünïcödé 日本語",
    });

    /** A stream of responses, each with a pattern of its own. */
    const produce = (count: number, bytes: number, options?: CallOptions): AsyncIterable<Chunk> =>
      probe.exchange([{ count, bytes, body: new Uint8Array(0) }], options);

    it("messages of every size come back as they were sent, and views end with their handler", async () => {
      for (const [index, bytes] of SIZES.entries()) {
        const sent = chunk(index, bytes);
        const back = await within(SOON, lender.return(sent), `the response of ${bytes} bytes`);
        expect(back.hold).to.equal(sent.hold);
        expect(Buffer.compare(back.body, sent.body)).to.equal(0);
        const kept = await within(SOON, lender.kept({}), "what is kept");
        // Frames of 65 KiB are no large ones yet.
        const lent = lends && bytes > 65 * KIB && bytes <= 1024 * KIB;
        expect(kept.bytes, `a body of ${bytes} bytes`).to.equal(lent ? 0 : bytes);
      }
    });

    it("more handlers at once than there is memory to lend", async () => {
      const calls = Array.from({ length: 40 }, async (_, index) => {
        const sent = chunk(index, 100_000 + 1000 * index);
        const { body } = await lender.return(sent);
        expect(Buffer.compare(body, sent.body)).to.equal(0);
      });
      await within(SOON, Promise.all(calls), "the responses");
    });

    it("a stream of requests: each view ends when the next is taken", async () => {
      const sizes = Array.from({ length: 50 }, (_, index) => SIZES[index % SIZES.length]!);
      const result = await within(
        SOON,
        lender.examine(sizes.map((bytes, index) => chunk(index, bytes))),
        "the examination",
      );
      expect(result.count).to.equal(50);
      expect(result.wrong).to.equal(0);
      if (lends) expect(result.ended).to.be.greaterThan(0);
      else expect(result.ended).to.equal(0);
    });

    it("a stream of responses: each view ends when the next is taken, and the last with the iteration", async () => {
      const bodies: Uint8Array[] = [];
      let count = 0;
      const bytes = 200_000;
      for await (const { body, index } of produce(20, bytes, { lendBytes: true })) {
        expect(index).to.equal(count++);
        expect(body.length).to.equal(bytes);
        expect(Buffer.compare(body, pattern(bytes, index + 1))).to.equal(0);
        for (const before of bodies) expect(before.length).to.be.oneOf(lends ? [0, bytes] : [bytes]);
        bodies.push(body);
      }
      expect(count).to.equal(20);
      if (lends) expect(bodies.filter(({ length }) => length === 0)).to.not.be.empty;
    });

    it("views that were never taken are given back when the iteration is given up", async () => {
      for (let i = 0; i < 10; i++) {
        for await (const { body } of probe.produce({ count: 0, bytes: 200_000 }, { lendBytes: true })) {
          expect(body.length).to.equal(200_000);
          break;
        }
      }
      const sent = chunk(1, 200_000);
      await within(SOON, lender.return(sent), "a response");
      const { bytes } = await within(SOON, lender.kept({}), "what is kept");
      expect(bytes).to.equal(lends ? 0 : 200_000);
    });

    it("is refused for one response, whose user is done with it nobody knows when", async () => {
      const error = await failure(lender.return(chunk(0, 10), { lendBytes: true }), Status.INVALID_ARGUMENT);
      expect(error.message).to.contain("lendBytes").and.to.contain("Lender/Return");
    });

    it("without lendBytes everything is a copy", async () => {
      const all = await collect(produce(20, 200_000));
      for (const { body, index } of all)
        expect(Buffer.compare(body, pattern(200_000, index + 1))).to.equal(0);
    });
  },
  distinct,
);

onEveryCarrier(
  "lending and the connection's end",
  (carrier) => {
    it("views end with the connection", async () => {
      const link = await carrier.open();
      const chunks = link.channel
        .client(ProbeDefinition)
        .produce({ count: 0, bytes: 200_000 }, { lendBytes: true })
        [Symbol.asyncIterator]();
      const { value } = await within(SOON, chunks.next(), "a message");
      const body = (value as Chunk).body;
      expect(body.length).to.equal(200_000);
      const moved =
        "transfer" in ArrayBuffer.prototype ? move((await chunks.next()).value as Chunk) : undefined;
      await link.channel.close({ timeoutMs: 0 });
      await link.close();
      expect(body.length).to.equal(carrier.lends === true ? 0 : 200_000);
      // What a user has moved elsewhere stays readable: nobody knows what it holds.
      if (moved !== undefined) expect(moved.reduce((sum, byte) => sum + byte, 0)).to.be.a("number");
    });
  },
  ({ lends = false, name }) => lends || name === "unix:",
);

function move({ body }: Chunk): Uint8Array {
  const buffer = body.buffer as ArrayBuffer & { transfer(): ArrayBuffer };
  return new Uint8Array(buffer.transfer());
}
