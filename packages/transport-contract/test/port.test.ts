import { describeTransport } from "@sluice/transport-contract";
import { port } from "./port.js";

let names = 0;

describeTransport("port", { transport: port, address: () => `port:${names++}`, malformed: ["port:"] });
