/**
 * TCP on loopback, on which every user of the host can connect, and listen at a port that is free again. So each end begins with
 * a frame that proves that it has read the server's file, and takes nothing from the other before it has seen such a frame.
 */
import { timingSafeEqual } from "node:crypto";
import { FRAME_HEADER_BYTES, RpcError, Status, type ConnectionHandler } from "@sluice/core";
import type { StreamSocket } from "../platform/index.js";
import { StreamConnection } from "../stream/connection.js";
import { traitsOf } from "../tcp/connection.js";

/** As a frame: the header says no more than its length. */
function frameOf(secret: string): Uint8Array {
  const payload = Buffer.from(secret, "hex");
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

export class ProvenConnection extends StreamConnection {
  readonly #expected: Uint8Array;

  /** `own` is what this end proves itself with, `expected` the other. */
  constructor(socket: StreamSocket, address: string, own: string, expected: string, pollUs: number) {
    const { remote } = socket;
    super((handler) => socket.open(handler, pollUs), socket.input, traitsOf(remote?.address), {
      address,
      ...(remote && { remoteAddress: remote.address, remotePort: remote.port }),
    });
    this.#expected = frameOf(expected);
    const proof = frameOf(own);
    // There is room, since nothing was sent before.
    this.reserve(proof.length);
    this.memory.set(proof, this.rangeStart);
    this.commit(proof.length);
  }

  override start(handler: ConnectionHandler): void {
    let proven = false;
    super.start({
      onFrame: (memory, start, end) => {
        if (proven) return handler.onFrame(memory, start, end);
        const proof = memory.subarray(start, end);
        proven = proof.length === this.#expected.length && timingSafeEqual(proof, this.#expected);
        if (!proven) {
          throw new RpcError(
            Status.PERMISSION_DENIED,
            `who is at ${this.peer.address} has not proved to be of this user`,
          );
        }
      },
      onWritable: () => handler.onWritable(),
      onClose: (error) => handler.onClose(error),
    });
  }
}
