import type { MessageCodec } from "@sluice/core";
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";

/** `message Payload { bytes body = 1; }`, as its encoding in hexadecimal: what the vectors say of messages. */
const Payload: MessageCodec<string> = {
  encode(message: string, writer?: BinaryWriter): BinaryWriter {
    if (message === "") return writer!;
    const bytes = Buffer.from(message, "hex");
    return writer!.uint32(0x0a).bytes(bytes.subarray(bodyStart(bytes)));
  },
  decode(input: BinaryReader | Uint8Array): string {
    const reader = input as BinaryReader;
    if (reader.pos === reader.len) return "";
    if (reader.uint32() !== 0x0a) throw new Error("not a Payload");
    const body = Buffer.from(reader.bytes());
    return Buffer.concat([head(body.length), body]).toString("hex");
  },
};

/** The tag and length of a body of `length` bytes. */
function head(length: number): Buffer {
  const bytes = [0x0a];
  for (; length > 0x7f; length >>>= 7) bytes.push((length & 0x7f) | 0x80);
  return Buffer.from([...bytes, length]);
}

function bodyStart(payload: Buffer): number {
  let at = 1;
  while (payload[at] >= 0x80) at++;
  return at + 1;
}

function method<const Request extends boolean, const Response extends boolean>(
  name: string,
  requestStream: Request,
  responseStream: Response,
) {
  return {
    name,
    requestStream,
    responseStream,
    requestType: Payload,
    responseType: Payload,
    options: {},
  } as const;
}

/** The service of the vectors. */
export const Vectors = {
  name: "Vectors",
  fullName: "sluice.Vectors",
  methods: {
    unary: method("Unary", false, false),
    serverStream: method("ServerStream", false, true),
    clientStream: method("ClientStream", true, false),
    bidi: method("Bidi", true, true),
  },
} as const;

export type Kind = keyof typeof Vectors.methods;
