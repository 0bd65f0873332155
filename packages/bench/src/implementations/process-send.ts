/** Node's own channel to a child process, with either of its serializations. JSON has no bytes: they travel as base64. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { echoClient } from "../echo-client.js";
import { SERVER_SCRIPT, type Implementation } from "../implementation.js";

export const processSend: Implementation = {
  async serve() {
    process.on("message", (message) => process.send!(message));
    process.send!("ready");
    return { address: "", close: async () => process.disconnect() };
  },

  connect: (transport, directory) =>
    echoClient(async (receive, fail) => {
      const json = transport === "json";
      const child = fork(SERVER_SCRIPT, ["process.send", transport, directory], {
        serialization: json ? "json" : "advanced",
      });
      child.on("error", fail);
      await once(child, "message");
      child.on("message", (body) =>
        receive(json ? Buffer.from(body as string, "base64") : (body as Uint8Array)),
      );
      return {
        send(body, times) {
          for (let sent = 0; sent < times; sent++) {
            child.send(
              json ? Buffer.from(body.buffer, body.byteOffset, body.length).toString("base64") : body,
            );
          }
        },
        async close() {
          child.disconnect();
          await once(child, "exit");
        },
      };
    }),
};
