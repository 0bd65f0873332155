import type { ChildProcess } from "node:child_process";
import { RpcError, Status, type Peer, type Traits } from "@sluice/core";
import type { ByteStream } from "../platform/index.js";
import { LINGER_MS, MAX_FRAME_BYTES, StreamConnection } from "../stream/connection.js";

/** A child or a parent that is gone does not come back at the same address. */
export const TRAITS: Traits = {
  maxFrameBytes: MAX_FRAME_BYTES,
  peerDeath: "carrier",
  reconnectable: false,
};

/** The parent's end of the pipes to a child. `ref` and `unref` count for the child's process as well. */
export class ChildConnection extends StreamConnection {
  readonly #process: ChildProcess;

  constructor(stream: ByteStream, child: ChildProcess, address: string, pollUs: number) {
    const peer: Peer = { address, ...(child.pid !== undefined && { pid: child.pid }) };
    super((handler) => stream.open(handler, pollUs), stream.input, TRAITS, peer);
    this.#process = child;
    child.once("exit", (code, signal) => this.#onExit(code, signal));
  }

  /**
   * The end of file usually says it first, behind all that the child wrote. It does not come while another process holds the
   * child's ends, such as one that the child started and that outlives it.
   */
  #onExit(code: number | null, signal: NodeJS.Signals | null): void {
    const how = signal === null ? `exited with code ${code}` : `was killed by ${signal}`;
    setTimeout(
      () => this.destroy(new RpcError(Status.UNAVAILABLE, `the child process ${this.peer.pid} ${how}`)),
      LINGER_MS,
    ).unref();
  }

  override ref(): void {
    super.ref();
    this.#process.ref();
  }

  override unref(): void {
    super.unref();
    this.#process.unref();
  }
}
