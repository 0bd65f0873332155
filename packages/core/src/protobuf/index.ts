/**
 * Protobuf's binary format, read and written in the memory of frames. Generated code imports `BinaryWriter` and
 * `BinaryReader` from here.
 */
import type { MessageCodec } from "../definition.js";
import { MessageReader } from "./reader.js";
import { MessageWriter } from "./writer.js";

export { WireType } from "@bufbuild/protobuf/wire";
export { MessageReader, MessageReader as BinaryReader, DecodeError, type ReadOptions } from "./reader.js";
export { MessageWriter, MessageWriter as BinaryWriter } from "./writer.js";
export { installPlatform, portablePlatform, type Platform } from "./platform.js";
export { emptyBytes } from "./base.js";

/** `message` as bytes of its own. Throws when a value does not fit its field's type. */
export function encodeMessage<T>(codec: MessageCodec<T>, message: T): Uint8Array {
  const writer = new MessageWriter();
  codec.encode(message, writer);
  return writer.detach();
}

/** The message in `memory[start..end)`, of which it keeps nothing. Throws a `DecodeError` when it is malformed. */
export function decodeMessage<T>(
  codec: MessageCodec<T>,
  memory: Uint8Array,
  start = 0,
  end = memory.length,
): T {
  return codec.decode(new MessageReader().begin(memory, start, end));
}
