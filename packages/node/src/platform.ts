import { AsyncResource } from "node:async_hooks";
import { Buffer, isUtf8 } from "node:buffer";
import { markAsUntransferable } from "node:worker_threads";
import { emptyBytes, portablePlatform, type Platform } from "@sluice/core/protobuf";
import { paceCollections } from "./pacing.js";

/** Buffer's own methods, which take any Uint8Array as `this`: no Buffer need be made for it. */
interface BufferMethods {
  utf8Slice?(this: Uint8Array, start: number, end: number): string;
  utf8Write?(this: Uint8Array, text: string, start: number, length: number): number;
}

const { utf8Slice, utf8Write } = Buffer.prototype as BufferMethods;

/** Without the zeroes that `new Uint8Array` writes, and plain: a Buffer's `slice` copies nothing. */
function allocateUnzeroed(bytes: number): Uint8Array {
  const { buffer, byteOffset } = Buffer.allocUnsafeSlow(bytes);
  return new Uint8Array(buffer, byteOffset, bytes);
}

/** From this size on messages are what decides when V8 collects, and how much memory it frees at a time. */
const LARGE_BYTES = 32 * 1024;
/** Of longer ones so many bytes are under way that they outlive what the young may, however often those are collected: more often is worse. */
const MAX_PACED_BYTES = 256 * 1024;

function allocate(bytes: number): Uint8Array {
  if (bytes >= LARGE_BYTES) {
    keepFreedMemory();
    if (bytes <= MAX_PACED_BYTES) paceCollections(bytes);
  }
  return allocateUnzeroed(bytes);
}

/** As much as glibc takes as a sign, with what it adds to it. */
const SIGN_BYTES = 32 * 1024 * 1024 - 64 * 1024;
let signGiven = false;

/**
 * V8 frees the memory of large messages by tens of megabytes, of which glibc at first gives all but 128 KiB back to the system; and
 * each page that it gets anew takes the kernel longer than it takes to copy a message into it. Once a program has freed a block of 32
 * MiB, which this is though nothing is ever written to it, it keeps up to 64 MiB at hand: mallopt(3), `M_MMAP_THRESHOLD`. Where the
 * environment sets `MALLOC_TRIM_THRESHOLD_` that holds instead, and so does what other C libraries do.
 */
function keepFreedMemory(): void {
  if (signGiven) return;
  signGiven = true;
  allocateUnzeroed(SIGN_BYTES);
}

// All messages share it, so nobody may take it away.
markAsUntransferable(emptyBytes.buffer);

/** Node's own means: Buffer's UTF-8, which allocates nothing but the text and takes half of TextDecoder's time. */
export const nodePlatform: Platform = {
  encodeUtf8:
    utf8Write === undefined
      ? portablePlatform.encodeUtf8
      : (text, memory, start, end) => {
          const room = end - start;
          // No UTF-16 unit takes more than 3 bytes; only when room is short must the size be known first.
          if (room < text.length * 3 && room < Buffer.byteLength(text)) return -1;
          return utf8Write.call(memory, text, start, room);
        },
  decodeUtf8:
    utf8Slice === undefined
      ? portablePlatform.decodeUtf8
      : (memory, start, end) => {
          const text = utf8Slice.call(memory, start, end);
          // Invalid bytes became U+FFFD, which is seldom there for another reason; a Latin-1 string is not searched.
          if (text.includes("\ufffd") && !isUtf8(memory.subarray(start, end))) {
            throw new TypeError("invalid UTF-8");
          }
          return text;
        },
  allocate,
  allocatePool(bytes) {
    const pool = allocateUnzeroed(bytes);
    markAsUntransferable(pool.buffer);
    return pool;
  },
  snapshot() {
    // AsyncLocalStorage.snapshot() does the same, and takes 10 us or more on Node.js 20 where this takes 0.2.
    const resource = new AsyncResource("SLUICE");
    return (run) => resource.runInAsyncScope(run);
  },
};
