import type { AcceptedPeer, Native, SocketListener } from "@sluice/native";
import type { ByteChannel, ByteChannelHandler } from "../../stream/channel.js";
import type { Credentials, SocketAddress, SocketServer, StreamSocket, StreamSockets } from "../index.js";
import { Shortage } from "../shortage.js";

/**
 * What a Unix socket holds of bytes that its peer has not read, as far as net.core.wmem_max allows; the kernel doubles it
 * (socket(7)). A Unix socket is writable again only when three quarters of that have been read: with the default of
 * 208 KiB the two processes take turns, at two thirds of the speed. Beyond this small calls wait longer behind large ones.
 */
const UNIX_SEND_BUFFER_BYTES = 1 << 20;

class NativeSocket implements StreamSocket {
  readonly credentials: Credentials | undefined;
  readonly remote: StreamSocket["remote"];
  readonly fd: number;
  readonly #native: Native;

  constructor(native: Native, fd: number, peer: AcceptedPeer) {
    this.#native = native;
    this.fd = fd;
    if ("uid" in peer) this.credentials = peer;
    else this.remote = peer;
  }

  get input(): Uint8Array {
    return this.#native.readSlab;
  }

  open(handler: ByteChannelHandler, pollUs: number): ByteChannel {
    if (this.credentials !== undefined) this.#native.setSendBuffer(this.fd, UNIX_SEND_BUFFER_BYTES);
    return new this.#native.ByteChannel(this.fd, this.fd, handler, { pollMicroseconds: pollUs });
  }

  destroy(): void {
    this.#native.closeFd(this.fd);
  }
}

/** Stream sockets of `@sluice/native`. */
export function createSockets(native: Native): StreamSockets {
  const connected = (fd: number, to: SocketAddress): StreamSocket => {
    try {
      const peer = "path" in to ? native.peerCredentials(fd) : native.peerAddress(fd);
      return new NativeSocket(native, fd, peer as AcceptedPeer);
    } catch (error) {
      native.closeFd(fd);
      throw error;
    }
  };

  return {
    connect(to, signal) {
      return new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        const connector = new native.SocketConnector(to, {
          onConnect(fd) {
            signal?.removeEventListener("abort", onAbort);
            try {
              resolve(connected(fd, to));
            } catch (error) {
              reject(error as Error);
            }
          },
          onError(error) {
            signal?.removeEventListener("abort", onAbort);
            reject(error);
          },
        });
        const onAbort = (): void => {
          connector.cancel();
          reject(signal!.reason as Error);
        };
        signal?.addEventListener("abort", onAbort, { once: true });
      });
    },

    async listen(at, mode, onSocket, onError) {
      const shortage = new Shortage(onError);
      const listener = new native.SocketListener(
        at,
        {
          onConnection(fd, peer) {
            shortage.onAccepted();
            onSocket(new NativeSocket(native, fd, peer));
          },
          // Such as for want of descriptors: the listener tries again and again, and those who connect wait.
          onError: (error) => shortage.onError(error),
        },
        { mode },
      );
      return new NativeSocketServer(listener);
    },
  };
}

class NativeSocketServer implements SocketServer {
  readonly port: number;
  readonly #listener: SocketListener;

  constructor(listener: SocketListener) {
    this.#listener = listener;
    const at = listener.address();
    this.port = "port" in at ? at.port : 0;
  }

  close(): void {
    this.#listener.close();
  }

  ref(): void {
    this.#listener.ref();
  }

  unref(): void {
    this.#listener.unref();
  }
}
