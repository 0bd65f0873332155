import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Connection, Transport } from "@sluice/core";

/** A directory of this test process alone (mode 0700), removed when it exits. */
export const directory = mkdtempSync(join(tmpdir(), "sluice-"));
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
// Where shm: and auto: keep what belongs to their names.
process.env["XDG_RUNTIME_DIR"] = directory;

let next = 0;

/** A path in it that nothing uses. */
export function freshPath(suffix = ".sock"): string {
  return join(directory, `${next++}${suffix}`);
}

/** Both ends of a connection over two pipes, made as a child makes its end. */
export async function pipePair(pipe: Transport): Promise<[Connection, Connection]> {
  const paths = [freshPath(".fifo"), freshPath(".fifo")];
  execFileSync("mkfifo", paths);
  const [there, back] = paths.map((path) => {
    // Opened without blocking, which the reader may do before there is a writer (fifo(7)).
    const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writeFd = openSync(path, constants.O_WRONLY);
    rmSync(path);
    return { readFd, writeFd };
  });
  return [await take(pipe, back!.readFd, there!.writeFd), await take(pipe, there!.readFd, back!.writeFd)];
}

/** The connection that a child makes of these descriptors when it listens at `pipe:`. */
async function take(pipe: Transport, readFd: number, writeFd: number): Promise<Connection> {
  process.env["SLUICE_PIPE"] = `${readFd},${writeFd}`;
  return new Promise((resolve, reject) => {
    pipe.listen("pipe:", resolve, {}).catch((error: Error) => {
      closeSync(readFd);
      closeSync(writeFd);
      reject(error);
    });
  });
}
