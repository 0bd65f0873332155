/** vscode-jsonrpc over a Unix socket. JSON has no bytes: they travel as base64. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import {
  createMessageConnection,
  RequestType,
  SocketMessageReader,
  SocketMessageWriter,
  type MessageConnection,
} from "vscode-jsonrpc/node";
import type { Implementation } from "../implementation.js";

interface Echo {
  readonly body: string;
}

const UNARY = new RequestType<Echo, Echo, void>("unary");

export const vscodeJsonrpc: Implementation = {
  async serve(_transport, directory) {
    const path = join(directory, "jsonrpc.sock");
    const server = createServer((socket) => {
      const connection = listen(socket);
      connection.onRequest(UNARY, ({ body }) => encode(decode(body)));
    });
    server.listen(path);
    await once(server, "listening");
    return {
      address: path,
      async close() {
        server.close();
        await once(server, "close");
      },
    };
  },

  async connect(_transport, path) {
    const socket = connect(path);
    await once(socket, "connect");
    const connection = listen(socket);
    return {
      unary: () => async (body) => {
        const reply = await connection.sendRequest(UNARY, encode(body));
        return { body: decode(reply.body) };
      },
      async close() {
        connection.end();
        await once(socket, "close");
      },
    };
  },
};

function listen(socket: Socket): MessageConnection {
  const connection = createMessageConnection(
    new SocketMessageReader(socket),
    new SocketMessageWriter(socket),
  );
  connection.listen();
  return connection;
}

/** The server decodes and encodes, too, as one that had a use for the bytes would. */
function encode(body: Uint8Array): Echo {
  return { body: Buffer.from(body.buffer, body.byteOffset, body.length).toString("base64") };
}

function decode(body: string): Uint8Array {
  return Buffer.from(body, "base64");
}
