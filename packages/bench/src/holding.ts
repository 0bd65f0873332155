/** In the client's process: calls that are held. */
import type { HeldRequest } from "./held.js";
import type { BenchClient, Echoed } from "./implementation.js";

const BYTES = 64;
let holding: Promise<Echoed>[] = [];

/** Make calls that are held, until the server has all of them; or have them answered, and look at the answers. */
export async function runHeld(clients: readonly BenchClient[], { held }: HeldRequest): Promise<void> {
  const body = new Uint8Array(BYTES);
  if (held === "release") {
    await clients[0].release!(body);
    for (const reply of await Promise.all(holding)) {
      if (reply.body.length !== BYTES) throw new Error("a call that was held has the wrong answer");
    }
    holding = [];
  } else {
    holding = Array.from({ length: held.calls }, (_, index) => clients[index % clients.length].hold!(body));
    // Calls of one connection arrive in order: what comes after them is answered when they are there.
    await Promise.all(clients.map((client) => client.unary()(body)));
  }
}
