/** Runs out of descriptors while others connect; started with few allowed. */
import { closeSync, openSync } from "node:fs";
import type { SystemError } from "@sluice/native";
import { native } from "../support.js";

const path = process.argv[2];
const accepted: number[] = [];
const errors: SystemError[] = [];
let arrived = (): void => {};

function next(): Promise<void> {
  return new Promise((resolve) => (arrived = resolve));
}

const listener = new native.SocketListener(
  { path },
  {
    onConnection(fd) {
      accepted.push(fd);
      arrived();
    },
    onError(error) {
      errors.push(error);
      arrived();
    },
  },
);

const [near, far] = native.socketPair();
const unexpected = (): never => {
  throw new Error("nothing was to be told");
};
const handler = { onRead: unexpected, onWritable: unexpected, onEnd: unexpected, onError: unexpected };
new native.ByteChannel(near, near, handler).sendDescriptors(Uint8Array.of(1), [0]);

/** Every descriptor that is left. */
const taken: number[] = [];
try {
  for (;;) taken.push(openSync("/dev/null", "r"));
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== "EMFILE") throw error;
}

/** Connects with one descriptor for that end, and none left for the other. */
const connect = (): void => {
  closeSync(taken.pop()!);
  new native.SocketConnector({ path }, { onConnect() {}, onError: (error) => console.error(error) });
};

let receiving: unknown;
try {
  native.blocking.receiveDescriptor(far, new Uint8Array(1), 0, undefined, []);
} catch (error) {
  receiving = (error as NodeJS.ErrnoException).code;
}

connect();
await next();
const told = errors[0].code;
native.closeFd(taken.pop()!);
await next();
const afterClose = accepted.length === 1;

// Freed behind the listener's back: it finds out by itself, asking now and then rather than all the time.
connect();
while (errors.length < 4) await next();
const begin = performance.now();
while (errors.length < 8) await next();
const spins = performance.now() - begin < 300;
closeSync(taken.pop()!);
while (accepted.length < 2) await next();
listener.close();
console.log(JSON.stringify({ code: told, afterClose, spins, receiving }));
process.exit();
