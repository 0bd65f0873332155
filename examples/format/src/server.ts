// Prettier, loaded and warmed up once, for every process that asks. Its own interface is asynchronous.
import { createServer, RpcError, Status } from "@sluice/node";
import { format } from "prettier";
import { FormatterDefinition } from "./gen/format.js";

const address = process.argv[2] ?? "shm:format";

const server = createServer();
server.add(FormatterDefinition, {
  async format({ source, parser }) {
    try {
      return { formatted: await format(source, { parser }) };
    } catch (error) {
      throw new RpcError(Status.INVALID_ARGUMENT, (error as Error).message);
    }
  },
});
process.once("SIGINT", () => void server.close());
process.once("SIGTERM", () => void server.close());

const listener = await server.listen(address);
console.error(`listening at ${listener.address}`);
