/**
 * Random schemas: what to write in a `.proto` file, and what the tests must know of it themselves to judge a codec.
 */
import type { Random } from "./random.js";

export const SCALARS = [
  "int32",
  "uint32",
  "sint32",
  "int64",
  "uint64",
  "sint64",
  "fixed32",
  "sfixed32",
  "fixed64",
  "sfixed64",
  "bool",
  "float",
  "double",
  "string",
  "bytes",
] as const;
export type Scalar = (typeof SCALARS)[number];
const KEYS: readonly Scalar[] = SCALARS.filter((type) => !["float", "double", "bytes"].includes(type));

/** `enum` is the schema's only enum; messages are named by their index in the schema. */
export type FieldType = Scalar | "enum" | { readonly message: number; readonly group: boolean };

export interface Field {
  readonly name: string;
  readonly number: number;
  readonly type: FieldType;
  /** `plain`: proto3 without presence. */
  readonly label: "plain" | "optional" | "required" | "repeated" | "map" | "oneof";
  /** The type of a map's keys. */
  readonly key: Scalar;
  readonly packed: boolean;
  /** The default that proto2 states, as the proto file and as the decoded value have it. */
  readonly default?: { readonly text: string; readonly value: unknown };
}

export interface Message {
  readonly name: string;
  readonly fields: readonly Field[];
}

export interface Schema {
  readonly syntax: "proto2" | "proto3";
  readonly package: string;
  readonly messages: readonly Message[];
}

export function isPackable(type: FieldType): boolean {
  return type === "enum" || (typeof type === "string" && type !== "string" && type !== "bytes");
}

export function randomSchema(random: Random, syntax: Schema["syntax"], name: string, count = 10): Schema {
  const messages = Array.from({ length: count }, (_, i) => ({
    name: `M${i}`,
    fields: randomFields(random, syntax, count),
  }));
  return { syntax, package: name, messages };
}

function randomFields(random: Random, syntax: Schema["syntax"], messages: number): Field[] {
  const numbers = new Set<number>();
  const wanted = 1 + random.below(16);
  while (numbers.size < wanted) {
    const number = 1 + random.below(random.pick([15, 15, 2047, 18999, (1 << 29) - 1]));
    if (number < 19000 || number > 19999) numbers.add(number);
  }
  return [...numbers]
    .sort((a, b) => a - b)
    .map((number) => {
      const label = random.pick(
        syntax === "proto3"
          ? (["plain", "plain", "optional", "repeated", "map", "oneof"] as const)
          : (["optional", "optional", "required", "repeated", "map", "oneof"] as const),
      );
      const type = randomType(random, syntax, messages, label);
      const packed = label === "repeated" && isPackable(type) && !random.once(3);
      const stated =
        label === "optional" && syntax === "proto2" && random.once(2) ? DEFAULTS[type as string] : undefined;
      const field = { name: `f${number}`, number, type, label, key: random.pick(KEYS), packed };
      return stated === undefined ? field : { ...field, default: stated };
    });
}

const DEFAULTS: Readonly<Record<string, { text: string; value: unknown }>> = {
  int32: { text: "-7", value: -7 },
  string: { text: '"dflt"', value: "dflt" },
  bool: { text: "true", value: true },
  double: { text: "2.5", value: 2.5 },
};

function randomType(
  random: Random,
  syntax: Schema["syntax"],
  messages: number,
  label: Field["label"],
): FieldType {
  if (label === "required") return "int32"; // A required message could not end.
  if (!random.once(3)) return random.pick(SCALARS);
  if (random.once(3)) return "enum";
  const group = syntax === "proto2" && (label === "optional" || label === "repeated") && !random.once(3);
  return { message: random.below(messages), group };
}

/** The schema as the text of a `.proto` file. */
export function protoText(schema: Schema): string {
  const lines = [
    `syntax = "${schema.syntax}";`,
    `package ${schema.package};`,
    "enum E { ZERO = 0; ONE = 1; BIG = 2147483647; MINUS = -1; }",
  ];
  for (const message of schema.messages) {
    lines.push(`message ${message.name} {`);
    for (const field of message.fields) {
      if (field.label !== "oneof") lines.push(`  ${fieldText(schema, field)}`);
    }
    const alternatives = message.fields.filter((field) => field.label === "oneof");
    if (alternatives.length > 0) {
      lines.push(
        "  oneof choice {",
        ...alternatives.map((field) => `    ${fieldText(schema, field)}`),
        "  }",
      );
    }
    lines.push("}");
  }
  return lines.join("\n") + "\n";
}

function fieldText(schema: Schema, field: Field): string {
  const { type, number, label } = field;
  const typeText =
    typeof type === "string" ? (type === "enum" ? "E" : type) : schema.messages[type.message].name;
  if (typeof type !== "string" && type.group) {
    // A group declares its own message: these have one field that holds the message meant.
    return `${label} group F${number} = ${number} { optional ${typeText} inner = 1; }`;
  }
  if (label === "map") return `map<${field.key}, ${typeText}> ${field.name} = ${number};`;
  const options: string[] = [];
  if (label === "repeated" && isPackable(type)) options.push(`packed = ${field.packed}`);
  if (field.default !== undefined) options.push(`default = ${field.default.text}`);
  const prefix = label === "plain" || label === "oneof" ? "" : `${label} `;
  return `${prefix}${typeText} ${field.name} = ${number}${options.length > 0 ? ` [${options.join(", ")}]` : ""};`;
}
