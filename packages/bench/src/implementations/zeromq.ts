/**
 * zeromq.js over its ipc transport: a Dealer that calls and a Router that answers, with no high-water marks. protobufjs encodes
 * and decodes. The Router answers each Dealer in order, so no message carries an id. A socket takes one `send` at a time, so
 * those behind it wait in a queue, as its documentation advises.
 */
import { join } from "node:path";
import { Dealer, Router, type Socket } from "zeromq";
import type { Echoed, Implementation } from "../implementation.js";
import { echoCodec } from "./protobuf.js";

const OPTIONS = { sendHighWaterMark: 0, receiveHighWaterMark: 0, linger: 0 };

export const zeromq: Implementation = {
  async serve(_transport, directory) {
    const address = `ipc://${join(directory, "zeromq.sock")}`;
    const socket = new Router(OPTIONS);
    await socket.bind(address);
    const answering = (async () => {
      for await (const [client, request] of socket) {
        await socket.send([client, echoCodec.encode(echoCodec.decode(request))]);
      }
    })();
    return { address, close: () => close(socket, answering) };
  },

  async connect(_transport, address) {
    const socket = new Dealer(OPTIONS);
    socket.connect(address);
    const waiting: ((reply: Echoed) => void)[] = [];
    const receiving = (async () => {
      for await (const [reply] of socket) waiting.shift()!(echoCodec.decode(reply));
    })();
    const unsent: Uint8Array[] = [];
    let sending = false;
    const send = async (message: Uint8Array) => {
      unsent.push(message);
      if (sending) return;
      sending = true;
      for (let next; (next = unsent.shift()) !== undefined;) await socket.send(next);
      sending = false;
    };
    return {
      unary: () => (body) =>
        new Promise((resolve, reject) => {
          waiting.push(resolve);
          send(echoCodec.encode({ body })).catch(reject);
        }),
      close: () => close(socket, receiving),
    };
  },
};

/** `receiving` is refused then what it was waiting for. */
async function close(socket: Socket, receiving: Promise<void>): Promise<void> {
  socket.close();
  await receiving.catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTSOCK") throw error;
  });
}
