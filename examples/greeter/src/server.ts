import { createServer, RpcError, Status } from "@sluice/node";
import { GreeterDefinition } from "./gen/greeter.js";

const address = process.argv[2] ?? "unix:/tmp/greeter.sock";

const server = createServer();
server.add(GreeterDefinition, {
  sayHello(request) {
    return { message: `Hello, ${request.name}` };
  },
  async *countdown(request) {
    for (let n = request.from; n > 0; n--) yield { n };
  },
  async average(numbers) {
    let sum = 0;
    let count = 0;
    for await (const { value } of numbers) {
      sum += value;
      count++;
    }
    if (count === 0) throw new RpcError(Status.INVALID_ARGUMENT, "there is no average of no numbers");
    return { mean: sum / count };
  },
  async *chat(messages) {
    for await (const { text } of messages) yield { text: `You said: ${text}` };
  },
});
process.once("SIGINT", () => void server.close());
process.once("SIGTERM", () => void server.close());

const listener = await server.listen(address);
// Standard error, because over stdio: standard output carries the calls.
console.error(`listening at ${listener.address}`);
