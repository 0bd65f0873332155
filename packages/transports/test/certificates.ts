/** Certificates for tests, made when they are needed. */
import { generate } from "selfsigned";

/** A certificate and its private key, in PEM: options of `tls:`. */
export type Identity = { readonly cert: string; readonly key: string };

const DAY_MS = 86_400_000;

/** A certificate for `names`, issued by `ca` or by itself, valid for a day from `from` days on. */
export async function certificate(
  commonName: string,
  { ca, names = [], from = 0, isCa = false }: CertificateOptions = {},
): Promise<Identity> {
  const notBefore = Date.now() + from * DAY_MS;
  const { cert, private: key } = await generate([{ name: "commonName", value: commonName }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(notBefore),
    notAfterDate: new Date(notBefore + DAY_MS),
    ...(ca && { ca }),
    extensions: [
      { name: "basicConstraints", cA: isCa, critical: true },
      ...(names.length > 0
        ? [
            {
              name: "subjectAltName" as const,
              altNames: names.map((name) =>
                /^[\d.]+$|:/.test(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name },
              ),
            },
          ]
        : []),
    ],
  });
  return { cert: `${cert}\n`, key };
}

export interface CertificateOptions {
  readonly ca?: Identity;
  readonly names?: readonly string[];
  readonly from?: number;
  readonly isCa?: boolean;
}
