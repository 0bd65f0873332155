import { FRAME_HEADER_BYTES, type Connection } from "@sluice/core";

/** A frame whose payload is `text`. */
export function textFrame(text: string): Uint8Array {
  const payload = Buffer.from(text);
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

export function textOf(memory: Uint8Array, start: number, end: number): string {
  return Buffer.from(memory.subarray(start + FRAME_HEADER_BYTES, end)).toString();
}

/** Sends `text`, for which there must be room. */
export function sendText(connection: Connection, text: string): void {
  const frame = textFrame(text);
  if (!connection.reserve(frame.length)) throw new Error("no room for a frame");
  connection.memory.set(frame, connection.rangeStart);
  connection.commit(frame.length);
}
