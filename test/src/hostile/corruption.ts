/**
 * Random writes to the rings between good peers while they call each other: a server, and a client that is asynchronous
 * or blocks. Each is a victim of the other's segment, in a process of its own.
 */
import { ftruncateSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "@sluice/node";
import { TestServiceDefinition } from "../gen/grpc/testing/test.js";
import { Child } from "../processes.js";
import { within } from "../within.js";
import { BLOCKS, Interposer, Word, type Interposed, type Ring, type Side } from "./ring.js";
import { Random } from "./random.js";

const SOON = 20_000;

export interface Outcome {
  readonly corruptions: number;
  readonly connections: number;
  /** Calls that succeeded, and how often others failed, by the error's text. */
  readonly client: { readonly calls: number; readonly failures: Readonly<Record<string, number>> };
  /** Why the server lost connections, as far as it is kept. */
  readonly server: string;
}

const INTERESTING = [
  0, 1, 2, 4, 7, 8, 12, 16, 0xffff, 0x1_0000, 0x4_0000, 0x4_0008, 0x7fff_fff8, 0x8000_0000, 0xffff_fff8,
  0xffff_ffff,
];

/** One random write. */
function corrupt(ring: Ring, random: Random): void {
  const side = random.below(2) as Side;
  const value = random.chance(50) ? random.pick(INTERESTING) : random.below(0xffff_ffff);
  switch (random.below(8)) {
    case 0: {
      const word = random.pick([Word.head, Word.tail, Word.sleeping, Word.waiting, Word.semaphore])(side);
      return ring.store(word, random.chance(30) ? ring.load(word) + value : value);
    }
    case 1: // the length of a record that is about to be read, or was
      return ring.store(ring.at(side, ring.load(Word.tail(side)) & ~7), value);
    case 2: // its header, or its payload
    case 3:
      return ring.store(ring.at(side, (ring.load(Word.tail(side)) + random.below(600)) & ~3), value);
    case 4: // what is being written
      return ring.store(ring.at(side, (ring.load(Word.head(side)) + random.below(600)) & ~3), value);
    case 5:
      return ring.store(Word.block(side, random.below(BLOCKS)), value);
    case 6: {
      // A block that is being read or written: its frame's header, its message's first fields, or its last.
      if (ring.blockBytes === 0) return;
      const at = ring.blockAt(side, random.below(2)) + random.pick([0, 150_000]) + random.below(1000);
      ring.blocks.writeUInt32LE(value >>> 0, at & ~3);
      return;
    }
    default: // anywhere
      return ring.store(random.below(ring.words.length) * 4, value);
  }
}

/** Corrupts a connection until it ends. */
async function attack(connection: Interposed, random: Random, onCorruption: () => boolean): Promise<void> {
  const pause = async (turns: number): Promise<void> => {
    while (turns-- > 0 && !connection.closed) await new Promise(setImmediate);
  };
  // After its handshake, most often.
  await pause(random.below(3000));
  while (!connection.closed) {
    corrupt(connection.ring, random);
    if (!onCorruption()) break;
    if (random.chance(20)) connection.ringBoth();
    await pause(random.below(20));
  }
  connection.ringBoth();
}

/** Truncates the files of connections while a client makes calls, a few times. Throws when a victim has ended. */
export async function truncateRings(mode: "async" | "sync"): Promise<Outcome["client"]> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-"));
  const victim = Child.run("server", [`mmap:${directory}/server`]);
  const address = await victim.line();
  let count = 0;
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const interposer = new Interposer(`${directory}/client`, address, (connection) => {
    const { ring, server } = connection;
    const head = ring.load(Word.head(0));
    // In the middle of calls.
    const truncate = (): void => {
      if (connection.closed) return;
      if ((ring.load(Word.head(0)) - head) >>> 0 < 500_000) return void setImmediate(truncate);
      ftruncateSync(server.fd, 4096 * (count % 3));
      if (++count === 6) finish();
    };
    truncate();
  });
  const client = Child.run("ring-caller", [`mmap:${directory}/client`, mode]);
  try {
    await within(SOON, Promise.race([finished, victim.exited, client.exited]), "the truncations");
    client.kill("SIGTERM");
    let line = await client.line();
    if (line === "ready") line = await client.line();
    await within(SOON, client.exited, "the client's end");
    if (victim.ended) throw new Error(`the server ended\n${victim.stderr}`);
    return JSON.parse(line) as Outcome["client"];
  } finally {
    interposer.close();
    await client.destroy();
    await victim.destroy();
    rmSync(directory, { recursive: true });
  }
}

/** Corrupts `count` times. Throws when a victim has ended, or does not serve others. */
export async function corruptRings(mode: "async" | "sync", count: number, seed: number): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-"));
  const random = new Random(seed);
  const server = Child.run("server", [`shm:${directory}/server`]);
  const address = await server.line();
  const honest = await connect(address);
  let corruptions = 0;
  let connections = 0;
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const interposer = new Interposer(`${directory}/client`, address, (connection) => {
    connections++;
    const own = new Random(random.below(0xffff_ffff));
    void attack(connection, own, () => {
      if (++corruptions >= count) finish();
      return corruptions < count;
    });
  });
  const client = Child.run("ring-caller", [`shm:${directory}/client`, mode]);
  try {
    const died = Promise.race([server.exited, client.exited]).then(({ code, signal }) => {
      throw new Error(
        `a victim ended with ${signal ?? code} after ${corruptions} corruptions (seed ${seed})\n${server.stderr}\n${client.stderr}`,
      );
    });
    let stalled = 0;
    const served = (async () => {
      for (let done = false; !done;) {
        const before = corruptions;
        done = await Promise.race([
          finished.then(() => true),
          new Promise<false>((resolve) => setTimeout(() => resolve(false), 500)),
        ]);
        await within(
          SOON,
          honest.client(TestServiceDefinition).emptyCall({}),
          `a call of another client (seed ${seed})`,
        );
        if (!done && before === corruptions && stalled++ > 40)
          throw new Error(`no connection was made for 20 s (seed ${seed})`);
        if (before !== corruptions) stalled = 0;
      }
    })();
    await Promise.race([served, died]);
    died.catch(() => {});
    client.kill("SIGTERM");
    let line = await client.line();
    if (line === "ready") line = await client.line();
    await within(SOON, client.exited, "the client's end");
    await within(SOON, honest.client(TestServiceDefinition).emptyCall({}), "a call of another client");
    return { corruptions, connections, client: JSON.parse(line) as Outcome["client"], server: server.stderr };
  } finally {
    interposer.close();
    await honest.close({ timeoutMs: 1000 });
    await client.destroy();
    await server.destroy();
    rmSync(directory, { recursive: true });
  }
}
