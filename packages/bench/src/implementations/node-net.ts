/**
 * Frames of a fixed size through `node:net`, written and read as cheaply as it allows: no encoding, no calls, one write
 * for all that came back in one read. What RPC over the same socket can at best come near to.
 */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { echoClient } from "../echo-client.js";
import type { Implementation } from "../implementation.js";

const READ_BUFFER_BYTES = 64 * 1024;

export const nodeNet: Implementation = {
  async serve(_transport, directory) {
    const path = join(directory, "net.sock");
    const server = createServer((socket) => {
      socket.on("data", (chunk) => socket.write(chunk));
      socket.on("error", (error) => {
        throw error;
      });
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

  connect: (_transport, path) =>
    echoClient(async (receive, fail) => {
      const socket = connect({
        path,
        // One buffer for all reads, as node:net offers to whoever copies what it keeps.
        onread: {
          buffer: new Uint8Array(READ_BUFFER_BYTES),
          callback(length, buffer) {
            receive(buffer.subarray(0, length));
            return true;
          },
        },
      });
      await once(socket, "connect");
      socket.on("error", fail);
      let frame: Uint8Array | undefined;
      let frames = Buffer.alloc(0);
      return {
        send(body, times) {
          const bytes = times * body.length;
          if (body !== frame || bytes > frames.length) {
            frames = Buffer.concat(Array<Uint8Array>(times).fill(body));
            frame = body;
          }
          socket.write(frames.subarray(0, bytes));
        },
        async close() {
          socket.end();
          await once(socket, "close");
        },
      };
    }),
};
