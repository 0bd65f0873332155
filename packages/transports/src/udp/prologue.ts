import { VERSION, writeId, type ConnectionId } from "./packet.js";

const NAME = new TextEncoder().encode("sluice udp");

/** What both ends of a Noise handshake must agree on beside it: the protocol, its version, and the client's id of the connection. */
export function prologue(client: ConnectionId): Uint8Array {
  const bytes = new Uint8Array(NAME.length + 1 + 8);
  bytes.set(NAME);
  bytes[NAME.length] = VERSION;
  writeId(bytes, NAME.length + 1, client);
  return bytes;
}
