import { readFileSync } from "node:fs";
import { expect } from "chai";
import { describeTransport } from "@sluice/transport-contract";
import { port } from "./port.js";

let names = 0;

describeTransport("port", { transport: port, address: () => `port:${names++}`, malformed: ["port:"] });

it("is the example in docs/transports.md", () => {
  const page = readFileSync(new URL("../../../../docs/transports.md", import.meta.url), "utf8");
  const source = readFileSync(new URL("../port.ts", import.meta.url), "utf8");
  expect(page).to.contain(`\n${source}\``);
});
