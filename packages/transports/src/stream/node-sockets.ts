import { connect, createServer, type Server, type Socket } from "node:net";
import type { ByteChannel, ByteChannelHandler } from "./channel.js";
import { NodeChannel } from "./node-channel.js";
import { readSlab } from "./slabs.js";
import type { SocketAddress, SocketServer, StreamSocket, StreamSockets } from "./sockets.js";

class NodeSocket implements StreamSocket {
  readonly credentials = undefined;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly input = readSlab;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.remoteAddress = socket.remoteAddress;
    this.remotePort = socket.remotePort;
  }

  open(handler: ByteChannelHandler): ByteChannel {
    return new NodeChannel(this.#socket, this.#socket, handler);
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Stream sockets on `node:net`. */
export const nodeSockets: StreamSockets = {
  native: false,

  connect(to: SocketAddress, signal: AbortSignal | undefined): Promise<StreamSocket> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const socket = connect({ ...to, allowHalfOpen: true, noDelay: true });
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

  listen(at: SocketAddress, onSocket: (socket: StreamSocket) => void): Promise<SocketServer> {
    return new Promise((resolve, reject) => {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
      server.once("error", reject);
      // The mode is left to the umask, or widened; a private socket needs a private directory.
      const wide = "path" in at && at.mode === 0o666;
      server.listen({ ...at, readableAll: wide, writableAll: wide }, () => {
        server.off("error", reject);
        // accept(2) can fail later, such as for want of descriptors; the next connection is then tried anew.
        server.on("error", () => {});
        server.on("connection", (socket) => onSocket(new NodeSocket(socket)));
        resolve(new NodeSocketServer(server));
      });
    });
  },
};

class NodeSocketServer implements SocketServer {
  readonly port: number;
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
    const address = server.address();
    this.port = typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Node's callback also waits for the accepted sockets, which live on; the descriptor is closed by the call itself. */
  async close(): Promise<void> {
    this.#server.close();
  }

  ref(): void {
    this.#server.ref();
  }

  unref(): void {
    this.#server.unref();
  }
}
