import { connect } from "@sluice/node";
import { GreeterDefinition } from "./gen/greeter.js";

const address = process.argv[2] ?? "unix:/tmp/greeter.sock";

const channel = await connect(address);
const greeter = channel.client(GreeterDefinition);

const { message } = await greeter.sayHello({ name: "Ada" }, { timeoutMs: 5000 });
console.log(message);

for await (const { n } of greeter.countdown({ from: 3 })) console.log(n);

const { mean } = await greeter.average([{ value: 1 }, { value: 2 }, { value: 6 }]);
console.log(`The average is ${mean}`);

for await (const { text } of greeter.chat([{ text: "Good morning" }, { text: "Goodbye" }])) console.log(text);

await channel.close();
