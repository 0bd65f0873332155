import type { ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { Readable } from "node:stream";
import { readSlab } from "../../stream/slabs.js";
import type { ByteStream, ChildPipes, Pipes } from "../index.js";
import { NodeChannel } from "./channel.js";

function stream(reader: Socket, writer: Socket): ByteStream {
  return {
    input: readSlab,
    open: (handler) => new NodeChannel(reader, writer, handler),
    destroy() {
      reader.destroy();
      writer.destroy();
    },
  };
}

function readerOf(fd: number): Socket {
  return new Socket({ fd, readable: true, writable: false, allowHalfOpen: true });
}

function writerOf(fd: number): Socket {
  return new Socket({ fd, readable: false, writable: true, allowHalfOpen: true });
}

/** Node never closes the standard descriptors itself. Closed, they are the lowest free numbers, so /dev/null takes their place. */
function replaceByNothing(fd: 0 | 1): void {
  closeSync(fd);
  openSync("/dev/null", "r+");
}

export const pipes: Pipes = {
  /** Node's "pipe" is a pair of sockets; one pair for each direction is used here. */
  forChild(): ChildPipes {
    return {
      childReads: "pipe",
      childWrites: "pipe",
      identity: undefined,
      open: (child, readsAt, writesAt) => stream(end(child, writesAt), end(child, readsAt)),
      // A spawn that failed has closed them.
      destroy() {},
    };
  },

  inherited: (readFd, writeFd) => stream(readerOf(readFd), writerOf(writeFd)),

  takeStandard() {
    // Node cannot duplicate a descriptor, so only what JavaScript prints and reads can be turned aside.
    Object.defineProperty(process, "stdin", {
      value: Readable.from([]),
      configurable: true,
      enumerable: true,
    });
    process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
    return stream(
      readerOf(0).once("close", () => replaceByNothing(0)),
      writerOf(1).once("close", () => replaceByNothing(1)),
    );
  },
};

function end(child: ChildProcess, at: number): Socket {
  return child.stdio[at] as Socket;
}
