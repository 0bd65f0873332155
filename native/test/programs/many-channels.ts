/** Opens many pairs of channels and echoes over each. Argument: how many. */
import type { SystemError } from "@sluice/native";
import { native, openDescriptors, Peer, turn } from "../support.js";

const count = Number(process.argv[2]);
await turn();
const before = openDescriptors().size;
const pairs: [Peer, Peer][] = [];
try {
  for (let index = 0; index < count; index++) {
    const [a, b] = native.socketPair();
    const pair: [Peer, Peer] = [new Peer(a), new Peer(b)];
    pair[1].onData = (bytes) => pair[1].write(bytes);
    pairs.push(pair);
  }
} catch (error) {
  const { code, message } = error as SystemError;
  // Without a descriptor left the module loader could not even end in an orderly way.
  for (const pair of pairs) for (const { channel } of pair) channel.close();
  console.log(`${code}: ${message}`);
  process.exit(1);
}
for (const [index, [left]] of pairs.entries()) left.write(`message ${index}`);
for (const [index, [left]] of pairs.entries()) {
  const expected = `message ${index}`;
  await left.untilReceived(expected.length);
  if (left.received.toString() !== expected) throw new Error(`pair ${index} got ${left.received.toString()}`);
}
for (const pair of pairs) for (const { channel } of pair) channel.close();
await turn();
console.log(`${count} pairs echoed; ${openDescriptors().size - before} descriptors left open`);
