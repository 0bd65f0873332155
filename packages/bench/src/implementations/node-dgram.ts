/** Datagrams through `node:dgram` on loopback, where none is lost while all that are under way fit a socket's buffer. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { echoClient } from "../echo-client.js";
import type { Implementation } from "../implementation.js";

const HOST = "127.0.0.1";

export const nodeDgram: Implementation = {
  async serve() {
    const socket = await bind();
    socket.on("message", (message, { address, port }) => socket.send(message, port, address));
    return { address: String(socket.address().port), close: () => close(socket) };
  },

  connect: (_transport, port) =>
    echoClient(async (receive, fail) => {
      const socket = await bind();
      socket.connect(Number(port), HOST);
      await once(socket, "connect");
      socket.on("message", receive);
      socket.on("error", fail);
      return {
        send(body, times) {
          for (let sent = 0; sent < times; sent++) socket.send(body);
        },
        close: () => close(socket),
      };
    }),
};

async function bind(): Promise<Socket & { address(): AddressInfo }> {
  const socket = createSocket("udp4");
  socket.bind(0, HOST);
  await once(socket, "listening");
  return socket;
}

async function close(socket: Socket): Promise<void> {
  socket.close();
  await once(socket, "close");
}
