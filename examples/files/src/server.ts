import { readFile } from "node:fs/promises";
import { createServer } from "@sluice/node";
import { FilesDefinition } from "./gen/files.js";
import { Root } from "./root.js";
import { filesService } from "./service.js";

const [address, folder = ".", cert, key] = process.argv.slice(2);
if (address === undefined) {
  console.error(
    "usage: server ADDRESS [FOLDER [CERTIFICATE KEY]]\n" +
      "for example: server unix:/tmp/files.sock ~/documents\n" +
      "over tls: with the names of the certificate's and the private key's files, in PEM",
  );
  process.exit(2);
}

const server = createServer();
server.add(FilesDefinition, filesService(await Root.open(folder)));
process.once("SIGINT", () => void server.close());
process.once("SIGTERM", () => void server.close());

const identity = cert && key ? { cert: await readFile(cert), key: await readFile(key) } : {};
const listener = await server.listen(address, identity);
// Standard error, because over stdio: standard output carries the calls.
console.error(`listening at ${listener.address}`);
