/** The certificate of the servers of `tls:` in these suites, which trust it by itself. The processes that a test starts inherit it. */
import type { TransportOptions } from "@sluice/node";

const VARIABLE = "SLUICE_TEST_IDENTITY";

interface Identity {
  readonly cert: string;
  readonly key: string;
}

async function make(): Promise<Identity> {
  // Here, since the processes that inherit one have no use for it.
  const { generate } = await import("selfsigned");
  const { cert, private: key } = await generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] }],
  });
  return { cert, key };
}

const inherited = process.env[VARIABLE];
const identity = inherited === undefined ? await make() : (JSON.parse(inherited) as Identity);
process.env[VARIABLE] = JSON.stringify(identity);

/** Of `listen`. */
export const serverOptions: TransportOptions = { ...identity };

/** Of `connect`, whatever the address is. */
export const clientOptions: TransportOptions = { ca: identity.cert };
