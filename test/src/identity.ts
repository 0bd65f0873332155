/** Who the servers of these suites are: where they listen, and by what certificate. The processes that a test starts inherit it. */
import { randomInt } from "node:crypto";
import type { TransportOptions } from "@sluice/node";

const VARIABLE = "SLUICE_TEST_IDENTITY";

interface Identity {
  readonly host: string;
  readonly cert: string;
  readonly key: string;
}

function loopback(): string {
  return ["127", ...Array.from({ length: 3 }, () => randomInt(1, 255))].join(".");
}

async function make(): Promise<Identity> {
  // All of 127.0.0.0/8 is loopback on Linux. Clients have ports of 127.0.0.1, and other runs have addresses of their own: so
  // nobody takes the port of a server that has ended and is to be started again.
  const host = process.platform === "linux" ? loopback() : "127.0.0.1";
  // Here, since the processes that inherit one have no use for it.
  const { generate } = await import("selfsigned");
  const { cert, private: key } = await generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 7, ip: host }] }],
  });
  return { host, cert, key };
}

const inherited = process.env[VARIABLE];
const identity = inherited === undefined ? await make() : (JSON.parse(inherited) as Identity);
process.env[VARIABLE] = JSON.stringify(identity);

/** The address on loopback that servers listen at. */
export const host = identity.host;

/** Of `listen`. */
export const serverOptions: TransportOptions = { cert: identity.cert, key: identity.key };

/** Of `connect`, whatever the address is. */
export const clientOptions: TransportOptions = { ca: identity.cert };
