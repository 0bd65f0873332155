import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import { type Implementation, RpcError, Status } from "@sluice/node";
import { type FilesDefinition, type UploadRequest } from "./gen/files.js";
import { fileError, type Root } from "./root.js";

/** Bytes of a file in one message. */
export const CHUNK_BYTES = 64 * 1024;

const MAX_MATCH_CHARACTERS = 200;
const BINARY_CHECK_BYTES = 8192;

/** The file service, of the files below `root`. */
export function filesService(root: Root): Implementation<typeof FilesDefinition> {
  return {
    async *list(request) {
      for await (const { path, size } of root.walk(request.path)) yield { path, size: BigInt(size) };
    },

    async hash({ path }, context) {
      const hash = createHash("sha256");
      for await (const data of read(await root.file(path), context.signal)) hash.update(data);
      return { sha256: hash.digest() };
    },

    async *search({ path, text, ignoreCase }, context) {
      if (text === "") throw new RpcError(Status.INVALID_ARGUMENT, "there is no text to search for");
      const fold = (line: string) => (ignoreCase ? line.toLowerCase() : line);
      const wanted = fold(text);
      for await (const file of root.walk(path)) {
        for await (const [index, line] of lines(await root.file(file.path), context.signal)) {
          if (!fold(line).includes(wanted)) continue;
          yield { path: file.path, line: index, text: line.slice(0, MAX_MATCH_CHARACTERS) };
        }
      }
    },

    async *download({ path }, context) {
      const file = await root.file(path);
      context.setHeader("size", String((await stat(file)).size));
      const hash = createHash("sha256");
      for await (const data of read(file, context.signal)) {
        hash.update(data);
        yield { data };
      }
      context.setTrailer("sha256-bin", hash.digest());
    },

    async upload(requests) {
      const parts = requests[Symbol.asyncIterator]();
      const first = await parts.next();
      if (first.done === true || first.value.part?.$case !== "path") throw malformedUpload();
      const path = first.value.part.value;
      const target = await root.writable(path);
      const partial = `${target}.${randomUUID()}.partial`;
      try {
        const written = await write(partial, parts);
        await rename(partial, target);
        return written;
      } catch (error) {
        await rm(partial, { force: true });
        throw fileError(error, path);
      }
    },
  };
}

function read(file: string, signal: AbortSignal): AsyncIterable<Buffer> {
  return createReadStream(file, { highWaterMark: CHUNK_BYTES, signal });
}

/** The lines of a text file with their numbers; none of a binary one. */
async function* lines(file: string, signal: AbortSignal): AsyncGenerator<[number, string]> {
  if (await isBinary(file)) return;
  let number = 0;
  for await (const line of createInterface({
    input: createReadStream(file, { signal }),
    crlfDelay: Infinity,
  })) {
    yield [++number, line];
  }
}

async function isBinary(file: string): Promise<boolean> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(BINARY_CHECK_BYTES) });
    return buffer.subarray(0, bytesRead).includes(0);
  } finally {
    await handle.close();
  }
}

/** Write the remaining parts of an upload to a new file. */
async function write(file: string, parts: AsyncIterator<UploadRequest>) {
  const hash = createHash("sha256");
  let size = 0;
  const handle = await open(file, "wx");
  try {
    for (let next = await parts.next(); next.done !== true; next = await parts.next()) {
      const { part } = next.value;
      if (part?.$case !== "data") throw malformedUpload();
      hash.update(part.value);
      size += part.value.length;
      await handle.writeFile(part.value);
    }
  } finally {
    await handle.close();
  }
  return { size: BigInt(size), sha256: hash.digest() };
}

function malformedUpload(): RpcError {
  return new RpcError(Status.INVALID_ARGUMENT, "an upload is one path, then data");
}
