import { createServer } from "@sluice/node";
import { FilesDefinition } from "./gen/files.js";
import { Root } from "./root.js";
import { filesService } from "./service.js";

const [address, folder = "."] = process.argv.slice(2);
if (address === undefined) {
  console.error("usage: server ADDRESS [FOLDER]\nfor example: server unix:/tmp/files.sock ~/documents");
  process.exit(2);
}

const server = createServer();
server.add(FilesDefinition, filesService(await Root.open(folder)));
process.once("SIGINT", () => void server.close());
process.once("SIGTERM", () => void server.close());

const listener = await server.listen(address);
// Standard error, because over stdio: standard output carries the calls.
console.error(`listening at ${listener.address}`);
