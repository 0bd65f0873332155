/**
 * Frames of a fixed size through `node:net`, written and read as cheaply as it allows: no encoding, no calls, one write
 * for all that came back in one read. What RPC over the same socket can at best come near to.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { BenchClient, Implementation } from "../implementation.js";

const READ_BUFFER_BYTES = 64 * 1024;

export const nodeNet: Implementation = {
  name: "node:net",
  transports: { unix: "own process" },

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

  async connect(_transport, path): Promise<BenchClient> {
    let onRead: (chunk: Uint8Array) => void = () => {
      throw new Error("bytes arrived that nobody asked for");
    };
    const socket = connect({
      path,
      // One buffer for all reads, as node:net offers to whoever copies what it keeps.
      onread: {
        buffer: new Uint8Array(READ_BUFFER_BYTES),
        callback(length, buffer) {
          onRead(buffer.subarray(0, length));
          return true;
        },
      },
    });
    await once(socket, "connect");

    return {
      /** One frame at a time; for comparing bytes, not for timing. */
      unary() {
        let previous: Promise<unknown> = Promise.resolve();
        return (body) => {
          const reply = previous.then(() => exchange(socket, body, (read) => (onRead = read)));
          previous = reply;
          return reply;
        };
      },

      echo(body, inFlight, onEcho) {
        const frames = Buffer.concat(Array<Uint8Array>(inFlight).fill(body));
        const sentAt = new Float64Array(inFlight);
        return new Promise((resolve, reject) => {
          socket.once("error", reject);
          let oldest = 0;
          let unread = 0;
          let underWay = inFlight;
          let running = true;
          onRead = (chunk) => {
            unread += chunk.length;
            const whole = Math.floor(unread / body.length);
            if (whole === 0) return;
            unread -= whole * body.length;
            const now = performance.now();
            for (let i = 0; i < whole; i++) {
              running = onEcho(now - sentAt[oldest], now) && running;
              sentAt[oldest] = now;
              oldest = (oldest + 1) % inFlight;
            }
            if (running) {
              socket.write(frames.subarray(0, whole * body.length));
            } else if ((underWay -= whole) === 0) {
              socket.removeListener("error", reject);
              resolve();
            }
          };
          sentAt.fill(performance.now());
          socket.write(frames);
        });
      },

      async close() {
        socket.end();
        await once(socket, "close");
      },
    };
  },
};

function exchange(
  socket: Socket,
  body: Uint8Array,
  setReader: (onRead: (chunk: Uint8Array) => void) => void,
): Promise<{ body: Uint8Array }> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    const reply = new Uint8Array(body.length);
    let length = 0;
    setReader((chunk) => {
      reply.set(chunk, length);
      length += chunk.length;
      if (length < reply.length) return;
      socket.removeListener("error", reject);
      resolve({ body: reply });
    });
    socket.write(body);
  });
}
