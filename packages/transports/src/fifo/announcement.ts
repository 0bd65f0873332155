/**
 * What a client writes into the rendezvous: who it is to be found under. docs/transports.md has the protocol.
 *
 * The kernel keeps a write of up to PIPE_BUF bytes in one piece (pipe(7)), so whatever others write, an announcement is whole.
 */
import { randomBytes } from "node:crypto";

const MAGIC = Buffer.from("SLFIFO1\n");
const TOKEN_BYTES = 16;
export const ANNOUNCEMENT_BYTES = MAGIC.length + TOKEN_BYTES;

/** The names of a client's FIFOs in the rendezvous's directory: to the server (`up`), and to the client (`down`). */
export interface Names {
  readonly up: string;
  readonly down: string;
}

/** The names that a token stands for. Whatever its bytes are, no name leads out of the directory, or to other files. */
function namesOf(token: Uint8Array): Names {
  const stem = `.sluice-${Buffer.from(token).toString("hex")}`;
  return { up: `${stem}.up`, down: `${stem}.down` };
}

/** What a client keeps open, whose FIFO `name` is, for as long as no server has; undefined for other files. */
export function upOf(name: string): string | undefined {
  return /^(\.sluice-[0-9a-f]{32})\.(?:up|down)$/.exec(name)?.[1]?.concat(".up");
}

/** Names that nobody has, and what to write so that the server looks for them. */
export function announce(): { readonly names: Names; readonly announcement: Uint8Array } {
  const token = randomBytes(TOKEN_BYTES);
  return { names: namesOf(token), announcement: Buffer.concat([MAGIC, token]) };
}

/**
 * Calls `take` for each announcement in `bytes`, whatever stands between them: one begins where the magic does, for the last
 * time before it would be complete. Returns how many bytes at the end may be the beginning of another.
 */
export function takeAnnouncements(bytes: Buffer, take: (names: Names) => void): number {
  for (let at = 0; ;) {
    const start = bytes.indexOf(MAGIC, at);
    if (start < 0) return Math.min(bytes.length - at, MAGIC.length - 1);
    const end = start + ANNOUNCEMENT_BYTES;
    // As far as another magic that begins before `end` would reach.
    const again = bytes.subarray(start + 1, end + MAGIC.length - 1).indexOf(MAGIC);
    if (again >= 0) {
      at = start + 1 + again;
    } else if (end > bytes.length) {
      return bytes.length - start;
    } else {
      take(namesOf(bytes.subarray(start + MAGIC.length, end)));
      at = end;
    }
  }
}
