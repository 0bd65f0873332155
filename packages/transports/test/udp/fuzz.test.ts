import { expect } from "chai";
import { fuzz } from "./fuzz.js";

const PACKETS = 25_000;
const SEED = Number(process.env["TRANSPORT_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

describe("udp, packets that nobody sent so", function () {
  this.timeout(120_000);

  it(`${PACKETS} of them end connections with words at worst (TRANSPORT_SEED=${SEED})`, async () => {
    const { ended } = await fuzz(PACKETS, SEED);
    // Some get through: or else it tests nothing.
    expect(ended).to.be.above(10);
  });

  it(`${PACKETS} of them are nothing to connections with a secret (TRANSPORT_SEED=${SEED})`, async () => {
    await fuzz(PACKETS, SEED, new Uint8Array(32).fill(7));
  });
});
