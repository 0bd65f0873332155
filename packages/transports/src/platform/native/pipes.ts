import { closeSync, openSync } from "node:fs";
import type { Native } from "@sluice/native";
import type { ByteStream, ChildPipes, Pipes } from "../index.js";
import { pipeIdentity } from "../pipe-identity.js";

function stream(native: Native, readFd: number, writeFd: number): ByteStream {
  return {
    input: native.readSlab,
    open: (handler, pollUs) => new native.ByteChannel(readFd, writeFd, handler, { pollMicroseconds: pollUs }),
    destroy() {
      native.closeFd(readFd);
      native.closeFd(writeFd);
    },
  };
}

export function createPipes(native: Native): Pipes {
  return {
    forChild(): ChildPipes {
      const [childReads, parentWrites] = native.pipe2();
      let pair;
      try {
        pair = native.pipe2();
      } catch (error) {
        native.closeFd(childReads);
        native.closeFd(parentWrites);
        throw error;
      }
      const [parentReads, childWrites] = pair;
      const releaseChildEnds = (): void => {
        native.closeFd(childReads);
        native.closeFd(childWrites);
      };
      const parent = stream(native, parentReads, parentWrites);
      return {
        childReads,
        childWrites,
        identity: [pipeIdentity(childReads)!, pipeIdentity(childWrites)!],
        open() {
          releaseChildEnds();
          return parent;
        },
        destroy() {
          releaseChildEnds();
          parent.destroy();
        },
      };
    },

    inherited: (readFd, writeFd) => stream(native, readFd, writeFd),

    takeStandard() {
      const input = native.dup(0);
      const output = native.dup(1);
      const nothing = openSync("/dev/null", "r");
      native.dup2(nothing, 0);
      closeSync(nothing);
      native.dup2(2, 1);
      return stream(native, input, output);
    },
  };
}
