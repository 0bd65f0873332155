/** capnweb over WebSockets (by ws, without compression) on a Unix socket. */
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { newWebSocketRpcSession, RpcTarget } from "capnweb";
import { WebSocket, WebSocketServer } from "ws";
import type { Implementation } from "../implementation.js";

// Node has one of its own since 22; capnweb reads its constants.
globalThis.WebSocket ??= WebSocket as unknown as typeof globalThis.WebSocket;

class Bench extends RpcTarget {
  unary(body: Uint8Array): Uint8Array {
    return body;
  }
}

export const capnweb: Implementation = {
  async serve(_transport, directory) {
    const path = join(directory, "capnweb.sock");
    const http = createServer();
    const sockets = new WebSocketServer({ server: http, perMessageDeflate: false });
    sockets.on("connection", (socket) => newWebSocketRpcSession(standard(socket), new Bench()));
    http.listen(path);
    await once(http, "listening");
    return {
      address: path,
      async close() {
        for (const socket of sockets.clients) socket.terminate();
        sockets.close();
        http.close();
        await once(http, "close");
      },
    };
  },

  async connect(_transport, path) {
    const socket = new WebSocket(`ws+unix:${path}:/`, { perMessageDeflate: false });
    await once(socket, "open");
    const stub = newWebSocketRpcSession<Bench>(standard(socket));
    return {
      unary: () => async (body) => ({ body: await stub.unary(body) }),
      async close() {
        stub[Symbol.dispose]();
        if (socket.readyState !== WebSocket.CLOSED) await once(socket, "close");
      },
    };
  },
};

/** ws declares its own WebSocket, compatible in all that capnweb uses: its documentation has the same cast. */
function standard(socket: WebSocket): globalThis.WebSocket {
  return socket as unknown as globalThis.WebSocket;
}
