import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { COOKIE_BYTES, TOKEN_BYTES, writeId, writeU48, readU48, type ConnectionId } from "./packet.js";

/** How long a client may take to answer with its cookie, in milliseconds. */
const LIFETIME_MS = 10_000;
const TIME_BYTES = 8;

/**
 * What a server has a client send back, to see that it receives at the address it sends from (RFC 9000, section 8.1): the time, and an
 * HMAC over it, the address and the client's id. The server keeps nothing but its key.
 */
export class Cookies {
  readonly #key = randomBytes(32);

  /** `now` is in milliseconds. */
  make(address: Uint8Array, client: ConnectionId, now: number): Uint8Array {
    const cookie = new Uint8Array(COOKIE_BYTES);
    writeU48(cookie, 0, Math.floor(now));
    cookie.set(this.#mac(cookie, address, client), TIME_BYTES);
    return cookie;
  }

  accepts(cookie: Uint8Array, address: Uint8Array, client: ConnectionId, now: number): boolean {
    const age = now - readU48(cookie, 0);
    if (age < -1 || age > LIFETIME_MS) return false;
    return timingSafeEqual(cookie.subarray(TIME_BYTES), this.#mac(cookie, address, client));
  }

  #mac(cookie: Uint8Array, address: Uint8Array, client: ConnectionId): Uint8Array {
    const hmac = createHmac("sha256", this.#key).update(cookie.subarray(0, TIME_BYTES)).update(address);
    return hmac
      .update(idBytes(client))
      .digest()
      .subarray(0, COOKIE_BYTES - TIME_BYTES);
  }
}

/**
 * By what a client knows that a RESET comes from its server, which has forgotten the connection, and not from anyone: made from the
 * server's id of the connection and the secret. Without a secret the id itself, 64 random bits, is all that strangers do not know.
 */
export function resetToken(secret: Uint8Array | undefined, id: ConnectionId): Uint8Array {
  const hmac = createHmac("sha256", secret ?? new Uint8Array(0)).update("sluice udp reset");
  return hmac.update(idBytes(id)).digest().subarray(0, TOKEN_BYTES);
}

function idBytes(id: ConnectionId): Uint8Array {
  const bytes = new Uint8Array(8);
  writeId(bytes, 0, id);
  return bytes;
}
