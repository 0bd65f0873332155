// The test server as a process: `server.js ADDRESS [OPTIONS [LISTEN_OPTIONS]]`, those of createServer and listen as JSON.
// Prints the address that it listens at, and to standard error why connections were lost. Closes gracefully on SIGTERM,
// and then has nothing left to live for.
import { createServer } from "@sluice/node";
import { addServices } from "../services.js";

const [address, options = "{}", listenOptions = "{}"] = process.argv.slice(2);
const server = createServer(JSON.parse(options));
addServices(server, (options) => void server.close(options));
server.on("connectionError", (error) => console.error(error.message));
process.once("SIGTERM", () => void server.close());
const listener = await server.listen(address!, JSON.parse(listenOptions));
console.log(listener.address);
