import { BinaryReader, BinaryWriter } from "@sluice/core/protobuf";
import type { MessageCodec } from "@sluice/core";

/** The one message of the tests: which of a call's messages it is, and bytes that follow from that. */
export interface Part {
  index: number;
  data: Uint8Array;
}

/** As ts-proto generates for `message Part { uint32 index = 1; bytes data = 2; }`. */
export const Part: MessageCodec<Part> = {
  encode(message, writer = new BinaryWriter()) {
    if (message.index !== 0) writer.uint32(8).uint32(message.index);
    if (message.data.length !== 0) writer.uint32(18).bytes(message.data);
    return writer;
  },
  decode(input, length) {
    const reader = input instanceof BinaryReader ? input : new BinaryReader(input as Uint8Array);
    const end = length === undefined ? reader.len : reader.pos + length;
    const message: Part = { index: 0, data: new Uint8Array(0) };
    while (reader.pos < end) {
      const tag = reader.uint32();
      if (tag === 8) message.index = reader.uint32();
      else if (tag === 18) message.data = reader.bytes();
      else reader.skip(tag & 7);
    }
    return message;
  },
};

function method<Request extends boolean, Response extends boolean>(
  name: string,
  requestStream: Request,
  responseStream: Response,
) {
  return { name, requestType: Part, requestStream, responseType: Part, responseStream, options: {} } as const;
}

/** A method of each kind. */
export const TestDefinition = {
  name: "Test",
  fullName: "sim.Test",
  methods: {
    unary: method("Unary", false, false),
    serverStream: method("ServerStream", false, true),
    clientStream: method("ClientStream", true, false),
    bidi: method("Bidi", true, true),
  },
} as const;

/** Bytes that repeat after no power of two, so that a part in the wrong place shows. */
const PATTERN = Uint8Array.from({ length: 1 << 20 }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 24);

/** The data of the `index`th message of `call`: `size` bytes. */
export function dataOf(call: number, index: number, size: number): Uint8Array {
  const start = (Math.imul(call, 7919) + Math.imul(index, 104_729)) & 0x3ffff;
  return PATTERN.subarray(start, start + size);
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
