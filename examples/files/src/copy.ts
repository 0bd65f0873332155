import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { type Client, type Metadata, RpcError, Status } from "@sluice/node";
import type { FilesDefinition, UploadRequest } from "./gen/files.js";
import { CHUNK_BYTES } from "./service.js";

export type FilesClient = Client<typeof FilesDefinition>;

/** Told how a copy goes. */
export interface Progress {
  /** It begins, and this many bytes are expected. */
  start(bytes: number): void;
  /** This many more went through. */
  increment(bytes: number): void;
}

const SILENT: Progress = { start() {}, increment() {} };

/** What was copied: how many bytes, and their SHA-256, on which both ends agree. */
export interface Copied {
  readonly size: number;
  readonly sha256: Uint8Array;
}

/**
 * Copy a file of the server's to the local `target`, replacing it at once when all of it has arrived, else not at all.
 * Rejects with DATA_LOSS if what arrived is not what the server says it sent.
 */
export async function download(
  files: FilesClient,
  path: string,
  target: string,
  progress = SILENT,
): Promise<Copied> {
  const partial = `${target}.${process.pid}.partial`;
  const hash = createHash("sha256");
  let size = 0;
  let trailer: Metadata | undefined;
  try {
    const handle = await open(partial, "wx");
    try {
      const messages = files.download(
        { path },
        {
          onHeader: (header) => progress.start(Number(header.get("size"))),
          onTrailer: (metadata) => (trailer = metadata),
        },
      );
      for await (const { data } of messages) {
        await handle.writeFile(data);
        hash.update(data);
        size += data.length;
        progress.increment(data.length);
      }
    } finally {
      await handle.close();
    }
    const sha256 = hash.digest();
    checkSame(path, sha256, trailer?.get("sha256-bin"));
    await rename(partial, target);
    return { size, sha256 };
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** Copy the local file `source` to the server. Rejects with DATA_LOSS if the server got something else. */
export async function upload(
  files: FilesClient,
  source: string,
  path: string,
  progress = SILENT,
): Promise<Copied> {
  const hash = createHash("sha256");
  async function* parts(): AsyncGenerator<UploadRequest> {
    progress.start((await stat(source)).size);
    yield { part: { $case: "path", value: path } };
    for await (const data of createReadStream(source, {
      highWaterMark: CHUNK_BYTES,
    }) as AsyncIterable<Buffer>) {
      hash.update(data);
      yield { part: { $case: "data", value: data } };
      progress.increment(data.length);
    }
  }
  const { size, sha256 } = await files.upload(parts());
  checkSame(path, hash.digest(), sha256);
  return { size: Number(size), sha256 };
}

function checkSame(path: string, here: Buffer, there: string | Uint8Array | undefined): void {
  if (there instanceof Uint8Array && here.equals(there)) return;
  throw new RpcError(
    Status.DATA_LOSS,
    `${path} changed on the way: the SHA-256 is not the same at both ends`,
  );
}
