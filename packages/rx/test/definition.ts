import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import type { MessageCodec } from "@sluice/core";

export interface Num {
  readonly n: number;
}

/** `message Num { int32 n = 1; }`, as ts-proto generates it. */
const Num: MessageCodec<Num> = {
  encode(message, writer = new BinaryWriter()) {
    if (message.n !== 0) writer.uint32(8).int32(message.n);
    return writer;
  },
  decode(input, length) {
    const reader = input instanceof BinaryReader ? input : new BinaryReader(input);
    const end = length === undefined ? reader.len : reader.pos + length;
    let n = 0;
    while (reader.pos < end) {
      const tag = reader.uint32();
      if (tag === 8) n = reader.int32();
      else reader.skip(tag & 7);
    }
    return { n };
  },
};

/** A service with a method of each kind. */
export const NumbersDefinition = {
  name: "Numbers",
  fullName: "test.Numbers",
  methods: {
    double: method("Double", false, false),
    upTo: method("UpTo", false, true),
    sum: method("Sum", true, false),
    running: method("Running", true, true),
  },
} as const;

function method<Q extends boolean, R extends boolean>(name: string, requestStream: Q, responseStream: R) {
  return { name, requestType: Num, requestStream, responseType: Num, responseStream, options: {} } as const;
}
