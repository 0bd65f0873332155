/**
 * How the client of a ring connection gets the segment: the server sends one message over the control socket as soon as it
 * has accepted, and the client says nothing. docs/shared-memory.md, "Set-up".
 */
import { RpcError, Status } from "@sluice/core";
import type { ByteChannel, Native, SegmentKind } from "@sluice/native";
import { awaitUntil } from "../blocking/wait.js";
import { END } from "../stream/channel.js";
import type { Rings } from "./connection.js";
import { MIN_CAPACITY } from "./layout.js";

const MAGIC = 0x52474c53; // "SLGR"
const VERSION = 3;
const MESSAGE_BYTES = 24;
const MAX_REASON_BYTES = 1024;

/** Instead of a kind: the server cannot make a segment, and text that says why follows. */
const REFUSAL = 0;
const KINDS: readonly SegmentKind[] = ["memfd", "posix", "sysv", "file"];

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** What came of a handshake; the receiver owns both. */
export interface Received {
  readonly rings: Rings;
  /** The control socket. */
  readonly fd: number;
}

function message(kind: number, size: number, id: number, blockBytes: number): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, VERSION, true);
  view.setUint32(8, kind, true);
  view.setUint32(12, size, true);
  view.setInt32(16, id, true);
  view.setUint32(20, blockBytes, true);
  return bytes;
}

/** The server's part: sends the segment over the socket `fd`, which becomes the caller's again. */
export function sendSegment(
  native: Native,
  fd: number,
  kind: SegmentKind,
  { segment, capacity, blockBytes }: Rings,
): number {
  const channel = new native.ByteChannel(fd, fd, SILENT);
  try {
    const byNumber = kind === "sysv";
    const bytes = message(KINDS.indexOf(kind) + 1, capacity, byNumber ? segment.handle : 0, blockBytes);
    if (byNumber) write(channel, bytes);
    else channel.sendDescriptors(bytes, [segment.handle]);
    // The socket is new, so its buffer has taken all of it.
    return channel.detach();
  } catch (error) {
    channel.close();
    throw error;
  }
}

/** Instead of `sendSegment`: says why there is none, and closes the socket. */
export function sendRefusal(native: Native, fd: number, reason: string): void {
  const channel = new native.ByteChannel(fd, fd, SILENT);
  const text = encoder.encode(reason).subarray(0, MAX_REASON_BYTES);
  write(channel, message(REFUSAL, text.length, 0, 0), text);
  channel.close();
}

/** For channels that are only written to, and closed at once. */
const SILENT = { onRead: () => 0, onWritable() {}, onEnd() {}, onError() {} };

function write(channel: ByteChannel, ...parts: Uint8Array[]): void {
  const slab = channel.acquire();
  for (const part of parts) {
    slab.memory.set(part, slab.words[END]!);
    slab.words[END]! += part.length;
  }
  channel.flush();
}

function cannotConnect(address: string, why: string, options?: ErrorOptions): RpcError {
  return new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: ${why}`, options);
}

/** What the server's message says; undefined as long as more bytes of it are needed. `descriptor` came with them. */
function openSegment(
  native: Native,
  bytes: Uint8Array,
  descriptor: number | undefined,
  address: string,
): Rings | undefined {
  // The first 8 bytes are of every version.
  if (bytes.length < 8) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (view.getUint32(0, true) !== MAGIC) {
    throw cannotConnect(address, "who listens there is no server of shared memory (is it one of unix: ?)");
  }
  const version = view.getUint32(4, true);
  if (version !== VERSION) {
    throw cannotConnect(
      address,
      `the server's segments have version ${version}, and this process knows ${VERSION}`,
    );
  }
  if (bytes.length < MESSAGE_BYTES) return undefined;
  const number = view.getUint32(8, true);
  const size = view.getUint32(12, true);
  if (number === REFUSAL) {
    const end = MESSAGE_BYTES + Math.min(size, MAX_REASON_BYTES);
    if (bytes.length < end) return undefined;
    const reason = decoder.decode(bytes.subarray(MESSAGE_BYTES, end));
    throw cannotConnect(address, `the server could not make a segment: ${reason}`);
  }
  const kind = KINDS[number - 1];
  if (kind === undefined)
    throw cannotConnect(address, `the server sent a segment of an unknown kind (${number})`);
  if (size < MIN_CAPACITY) {
    throw cannotConnect(
      address,
      `the server's rings have ${size} bytes, and must have ${MIN_CAPACITY} at least`,
    );
  }
  const handle = kind === "sysv" ? view.getInt32(16, true) : descriptor;
  if (handle === undefined) throw cannotConnect(address, "the server sent no descriptor of its segment");
  const blockBytes = view.getUint32(20, true);
  try {
    return { segment: new native.Segment(kind, size, blockBytes, handle), capacity: size, blockBytes };
  } catch (error) {
    throw cannotConnect(address, (error as Error).message, { cause: error });
  }
}

/** The client's part without the event loop, for up to `timeoutMs`. */
export function receiveSegmentSync(native: Native, fd: number, address: string, timeoutMs: number): Received {
  const deadline = performance.now() + timeoutMs;
  const bytes = new Uint8Array(MESSAGE_BYTES + MAX_REASON_BYTES);
  const descriptors: number[] = [];
  let end = 0;
  try {
    for (;;) {
      const count = native.blocking.receiveDescriptor(fd, bytes, end, undefined, descriptors);
      if (count === 0)
        throw cannotConnect(address, "the server closed the connection before it sent a segment");
      if (count > 0) {
        end += count;
        const opened = openSegment(native, bytes.subarray(0, end), descriptors[0], address);
        if (opened !== undefined) return { rings: opened, fd };
      } else if (!awaitUntil(native, fd, -1, deadline)) {
        throw cannotConnect(address, `the server sent no segment for ${Math.ceil(timeoutMs)} ms`);
      }
    }
  } catch (error) {
    native.closeFd(fd);
    // Such as more descriptors than were asked for.
    throw error instanceof RpcError
      ? error
      : cannotConnect(address, (error as Error).message, { cause: error });
  } finally {
    for (const received of descriptors) native.closeFd(received);
  }
}

/** The client's part: waits for the segment on the socket `fd`, which it takes over, and maps it; for as long as `signal` lets it. */
export function receiveSegment(
  native: Native,
  fd: number,
  address: string,
  signal: AbortSignal | undefined,
): Promise<Received> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      end();
      channel.close();
      for (const received of descriptors.splice(0)) native.closeFd(received);
      reject(error as Error);
    };
    const unavailable = (why: string, options?: ErrorOptions): RpcError =>
      cannotConnect(address, why, options);
    const onAbort = (): void => fail(signal!.reason);
    const end = (): void => signal?.removeEventListener("abort", onAbort);

    const descriptors: number[] = [];
    let pending = new Uint8Array(0);
    const handler = {
      onDescriptors: (fds: number[]): void => void descriptors.push(...fds),
      onRead(bytes: number): number {
        // Few bytes, and once: a copy of them costs nothing.
        const all = new Uint8Array(bytes);
        all.set(native.readSlab.subarray(0, bytes));
        all.set(pending);
        pending = all;
        try {
          const opened = openSegment(native, all, descriptors[0], address);
          if (opened === undefined) return bytes;
          end();
          for (const received of descriptors.splice(0)) native.closeFd(received);
          resolve({ rings: opened, fd: channel.detach() });
        } catch (error) {
          fail(error);
        }
        return 0;
      },
      onWritable() {},
      onEnd: (): void => fail(unavailable("the server closed the connection before it sent a segment")),
      onError: (error: Error): void => fail(unavailable(error.message, { cause: error })),
    };

    const channel = new native.ByteChannel(fd, fd, handler, { maxDescriptors: 1 });
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    channel.start();
  });
}
