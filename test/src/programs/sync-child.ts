// Makes blocking calls to its parent, until the parent hangs up.
import { createSyncClient, RpcError } from "@sluice/node";
import { ProbeDefinition } from "../gen/sluice/testing/probe.js";
import { pattern } from "../payload.js";

const parent = createSyncClient(ProbeDefinition, "pipe:");
const body = pattern(100);
for (let index = 0; index < 1000; index++) {
  if (parent.echo({ index, body, hold: "" }).index !== index) throw new Error(`not echoed: ${index}`);
}
console.log("echoed 1000 times");
try {
  for (;;) parent.echo({ index: 0, body, hold: "" });
} catch (error) {
  console.log(`then ${error instanceof RpcError ? error.codeName : String(error)}`);
}
