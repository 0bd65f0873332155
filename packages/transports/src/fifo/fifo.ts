import { fstatSync } from "node:fs";
import type { Connection, Peer } from "@sluice/core";
import type { Native } from "@sluice/native";
import { errorCode } from "../errors.js";
import type { ByteStream } from "../platform/index.js";
import { StreamConnection } from "../stream/connection.js";
import { TRAITS } from "../unix/connection.js";

/** An open FIFO, and the user whose it is. */
export interface Fifo {
  readonly fd: number;
  readonly uid: number;
}

/** Opens a FIFO of `directory`; undefined if what is there is something else. */
export function openFifo(
  native: Native,
  directory: number,
  name: string,
  access: "read" | "write" | "both" | "look",
): Fifo | undefined {
  const fd = native.openAt(directory, name, access);
  const stats = fstatSync(fd);
  if (stats.isFIFO()) return { fd, uid: stats.uid };
  native.closeFd(fd);
  return undefined;
}

/** Removes a FIFO that the other end may have removed already. */
export function removeFifo(native: Native, directory: number, name: string): void {
  try {
    native.unlinkAt(directory, name);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}

/** Of the private FIFOs, both open: the end of the file in the one that is read says that the peer is gone. */
export function fifoConnection(stream: ByteStream, peer: Peer, pollUs: number): Connection {
  return new StreamConnection((handler) => stream.open(handler, pollUs), stream.input, TRAITS, peer);
}
