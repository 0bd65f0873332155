/** Malformed input against the reader: what must hold for any bytes whatever. */
import { BinaryReader as StockReader, BinaryWriter as StockWriter } from "@bufbuild/protobuf/wire";
import { DecodeError, MessageReader } from "@sluice/core/protobuf";
import type { Case } from "./codecs.js";
import { neutralOfGenerated, neutralOfProtobufjs, randomMessage } from "./message.js";
import type { Random } from "./random.js";
import { Malformed, referenceDecode } from "./reference.js";

export interface FuzzResult {
  /** How many of the inputs were messages after all. */
  readonly accepted: number;
}

interface Seed {
  readonly subject: Case;
  readonly bytes: Uint8Array;
}

const MESSAGES_PER_CASE = 40;
const NASTY = [
  [0x00],
  [0x80],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0x80, 0x80, 0x80, 0x80, 0x08],
  [0x07],
  [0x0b, 0x0c],
  [0x0b, 0x14],
  [0x0b],
  [0x0c],
  [0xed, 0xa0, 0x80],
  [0xc0, 0xaf],
];

/**
 * Decode `count` mutated messages and throw, with the input, at the first of these: an error other than `DecodeError`;
 * a result that depends on bytes outside the message; one that differs from the reference decoder's, in what is
 * accepted or in the value; a value other than that of the stock reader or protobufjs, where these accept it.
 */
export function fuzz(cases: readonly Case[], random: Random, count: number): FuzzResult {
  const seeds: Seed[] = cases.flatMap((subject) =>
    Array.from({ length: MESSAGES_PER_CASE }, () => {
      const message = randomMessage(random, subject.schema, subject.message, random.below(3));
      return { subject, bytes: subject.stock.encode(message, new StockWriter()).finish() };
    }),
  );
  const reader = new MessageReader();
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0; // Most inputs end in four errors, whose traces would take most of the time.
  let accepted = 0;
  try {
    for (let i = 0; i < count; i++) {
      const { subject, bytes } = random.pick(seeds);
      const input = mutate(random, bytes, seeds);
      try {
        if (judge(subject, input, reader, random)) accepted++;
      } catch (error) {
        const { schema, message } = subject;
        const hex = Buffer.from(input).toString("hex");
        throw new Error(
          `seed ${random.seed}, input ${i}: ${schema.package}.${message.name} ${hex}: ${String(error)}`,
          {
            cause: error,
          },
        );
      }
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  return { accepted };
}

/** Whether `input` is a message. Throws when the reader fails any expectation. */
function judge(subject: Case, input: Uint8Array, reader: MessageReader, random: Random): boolean {
  const { schema, message } = subject;
  const alias = random.once(2);
  const result = decodeAmong(subject, input, reader, alias, random.below(9), 0xff);
  const again = decodeAmong(subject, input, reader, alias, random.below(9), 0x00);
  if (result.text !== again.text) {
    throw new Error(`depends on bytes outside: ${result.text} and ${again.text}`);
  }
  let expected: { neutral: unknown; unusual: boolean } | undefined;
  let reason = "";
  try {
    expected = referenceDecode(schema, message, input);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    reason = error.message;
  }
  if (expected === undefined) {
    if (result.accepted) throw new Error(`accepted, but malformed (${reason})`);
    return false;
  }
  if (!result.accepted) throw new Error(`rejected, but well-formed: ${result.text}`);
  const text = JSON.stringify(expected.neutral);
  expectSame(result.text, text);

  const stock = JSON.stringify(
    neutralOfGenerated(schema, message, subject.stock.decode(new StockReader(input))),
  );
  expectSame(stock, text, "the stock reader ");
  if (!expected.unusual) {
    const other = decodeByProtobufjs(subject, input);
    if (other !== undefined) expectSame(other, text, "protobufjs ");
  }
  return true;
}

/** Throw, with the place of the first difference, unless two neutral forms are the same. */
export function expectSame(text: string, expected: string, decoder = ""): void {
  if (text === expected) return;
  let at = 0;
  while (text[at] === expected[at]) at++;
  const around = (all: string) => all.slice(Math.max(0, at - 60), at + 60);
  throw new Error(`${decoder}decoded ...${around(text)}..., not ...${around(expected)}...`);
}

/** Decode `input` in the middle of a larger array, otherwise filled with `filler`. */
function decodeAmong(
  { schema, message, codec }: Case,
  input: Uint8Array,
  reader: MessageReader,
  alias: boolean,
  offset: number,
  filler: number,
): { accepted: boolean; text: string } {
  const memory = new Uint8Array(offset + input.length + 16).fill(filler);
  memory.set(input, offset);
  try {
    const value = codec.decode(reader.begin(memory, offset, offset + input.length, { alias }));
    if (reader.pos !== offset + input.length) throw new Error(`stopped at ${reader.pos - offset}`);
    if (!alias) memory.fill(filler); // Nothing decoded may still refer to it.
    return { accepted: true, text: JSON.stringify(neutralOfGenerated(schema, message, value)) };
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return { accepted: false, text: error.message };
  }
}

function decodeByProtobufjs({ schema, message, protobufjs }: Case, input: Uint8Array): string | undefined {
  let value;
  try {
    value = protobufjs.decode(input);
  } catch {
    return undefined;
  }
  return JSON.stringify(neutralOfProtobufjs(schema, message, value as unknown as Record<string, unknown>));
}

function mutate(random: Random, bytes: Uint8Array, seeds: readonly Seed[]): Uint8Array {
  let result = [...bytes];
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(result.length + 1);
    switch (random.below(10)) {
      case 0:
        if (at < result.length) result[at] ^= 1 << random.below(8);
        break;
      case 1:
        if (at < result.length) result[at] = random.below(256);
        break;
      case 2:
        if (at < result.length) result[at] = (result[at] + random.pick([1, 255])) & 0xff;
        break;
      case 3:
        result.splice(at, 0, random.below(256));
        break;
      case 4:
        result.splice(at, 1 + random.below(8));
        break;
      case 5:
        result.length = at;
        break;
      case 6:
        result.splice(at, random.below(3), ...random.pick(NASTY));
        break;
      case 7: {
        const other = random.pick(seeds).bytes;
        const from = random.below(other.length + 1);
        result.splice(at, 0, ...other.subarray(from, from + random.below(40)));
        break;
      }
      case 8:
        result.splice(at, 0, ...result.slice(at, at + random.below(40)));
        break;
      case 9:
        result = Array.from({ length: random.below(20) }, () => random.below(256));
        break;
    }
  }
  return Uint8Array.from(result);
}
