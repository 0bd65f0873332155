/** Whether closed channels are collected, and open ones are not. Needs --expose-gc. */
import { setImmediate } from "node:timers/promises";
import { native, Peer } from "../support.js";

const closed: WeakRef<object>[] = [];
function use(): WeakRef<object> {
  for (let index = 0; index < 100; index++) {
    const [a, b] = native.socketPair();
    for (const peer of [new Peer(a), new Peer(b)]) {
      closed.push(new WeakRef(peer), new WeakRef(peer.channel));
      peer.write("x");
      peer.channel.wantWritable();
      peer.channel.close();
    }
  }
  const [a] = native.socketPair();
  return new WeakRef(new Peer(a).channel);
}

const open = use();
const alive = (): number => closed.filter((reference) => reference.deref() !== undefined).length;
for (let round = 0; round < 20; round++) {
  await setImmediate();
  globalThis.gc!();
}
console.log(JSON.stringify({ openAlive: open.deref() !== undefined, closedAlive: alive() }));
process.exit();
