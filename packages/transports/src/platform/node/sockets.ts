import { connect, createServer, type Server, type Socket } from "node:net";
import { existsSync } from "node:fs";
import { dirname, resolve as resolvePath } from "node:path";
import type { ByteChannel, ByteChannelHandler } from "../../stream/channel.js";
import { readSlab } from "../../stream/slabs.js";
import { MAX_PATH_BYTES } from "../../unix/address.js";
import type { SocketAddress, SocketServer, StreamSocket, StreamSockets } from "../index.js";
import { Shortage } from "../shortage.js";
import { NodeChannel } from "./channel.js";

class NodeSocket implements StreamSocket {
  readonly fd = undefined;
  readonly credentials = undefined;
  readonly remote: StreamSocket["remote"];
  readonly input = readSlab;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    const { remoteAddress: address, remotePort: port } = socket;
    if (address !== undefined && port !== undefined) this.remote = { address, port };
  }

  open(handler: ByteChannelHandler): ByteChannel {
    return new NodeChannel(this.#socket, this.#socket, handler);
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

function nodeAddress(at: SocketAddress): { path: string } | { host: string; port: number } {
  return "path" in at ? at : { host: at.address, port: at.port };
}

/** Stream sockets on `node:net`. */
export const sockets: StreamSockets = {
  connect(to: SocketAddress, signal: AbortSignal | undefined): Promise<StreamSocket> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const socket = connect({ ...nodeAddress(to), allowHalfOpen: true, noDelay: true });
      const onAbort = (): void => {
        socket.destroy();
        reject(signal!.reason);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      socket.once("error", (error) => {
        signal?.removeEventListener("abort", onAbort);
        reject(error);
      });
      socket.once("connect", () => {
        signal?.removeEventListener("abort", onAbort);
        socket.removeAllListeners("error");
        // Nothing is read until the connection is started.
        socket.pause();
        resolve(new NodeSocket(socket));
      });
    });
  },

  listen(
    at: SocketAddress,
    mode: number,
    onSocket: (socket: StreamSocket) => void,
    onError: (error: Error) => void,
  ): Promise<SocketServer> {
    return new Promise((resolve, reject) => {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
      server.once("error", reject);
      // The mode is left to the umask, or widened; a private socket needs a private directory.
      const wide = "path" in at && mode === 0o666;
      const listened = "path" in at ? { path: lastingPath(at.path) } : nodeAddress(at);
      server.listen({ ...listened, readableAll: wide, writableAll: wide }, () => {
        server.off("error", reject);
        const shortage = new Shortage(onError);
        // accept(2) can fail later; the next connection is then tried anew. For want of descriptors Node drops clients and does not tell.
        server.on("error", (error) => shortage.onError(error));
        server.on("connection", (socket) => {
          shortage.onAccepted();
          onSocket(new NodeSocket(socket));
        });
        resolve(new NodeSocketServer(server));
      });
    });
  },
};

/** A path that still leads there when the process has changed its working directory, if there is one that is short enough and can be used. */
function lastingPath(path: string): string {
  const absolute = resolvePath(path);
  return Buffer.byteLength(absolute) <= MAX_PATH_BYTES && existsSync(dirname(absolute)) ? absolute : path;
}

class NodeSocketServer implements SocketServer {
  readonly port: number;
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
    const address = server.address();
    this.port = typeof address === "object" && address !== null ? address.port : 0;
  }

  close(): void {
    this.#server.close();
  }

  ref(): void {
    this.#server.ref();
  }

  unref(): void {
    this.#server.unref();
  }
}
