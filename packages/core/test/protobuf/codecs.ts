import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import protobufjs from "protobufjs";
import ts from "typescript";
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { generate } from "@sluice/cli";
import type { Value } from "./message.js";
import { protoText, type Message, type Schema } from "./schema.js";

/** What ts-proto generates for a message. */
export interface GeneratedCodec {
  encode(message: Value, writer?: BinaryWriter): BinaryWriter;
  decode(input: BinaryReader | Uint8Array, length?: number): Value;
}

/** One message type, with the generated codec to test and protobufjs's to compare it with. */
export interface Case {
  readonly schema: Schema;
  readonly message: Message;
  readonly codec: GeneratedCodec;
  /** The same code on the writer and reader that ts-proto would use. */
  readonly stock: GeneratedCodec;
  readonly protobufjs: protobufjs.Type;
}

/** Codecs by message name. */
export type Codecs = Readonly<Record<string, GeneratedCodec>>;

/** What `sluice generate` makes of one `.proto` file. */
export interface Generated {
  readonly own: Codecs;
  /** The same code on the writer and reader that ts-proto would use. */
  readonly stock: Codecs;
}

/** Generate and load the codecs of `.proto` files, given their texts by name (without extension). */
export async function loadGenerated(protos: ReadonlyMap<string, string>): Promise<Map<string, Generated>> {
  const directory = await writeGenerated(protos);
  try {
    const loaded = [...protos.keys()].map(async (name) => [name, await load(directory, name)] as const);
    return new Map(await Promise.all(loaded));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Generate `.proto` files into a new directory, beside this file so that the code in it finds @sluice/core. */
export async function writeGenerated(protos: ReadonlyMap<string, string>): Promise<string> {
  const directory = mkdtempSync(join(fileURLToPath(new URL(".", import.meta.url)), "generated-"));
  const source = join(directory, "proto");
  mkdirSync(source);
  for (const [name, text] of protos) writeFileSync(join(source, `${name}.proto`), text);
  await generate({ inputs: [source], out: directory });
  for (const name of protos.keys()) {
    const { outputText } = ts.transpileModule(readFileSync(join(directory, `${name}.ts`), "utf8"), {
      compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
    });
    writeFileSync(join(directory, `${name}.js`), outputText);
    const stock = outputText.replace(
      "import { BinaryReader, BinaryWriter",
      'import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";\nimport { WireType',
    );
    writeFileSync(join(directory, `${name}.stock.js`), stock);
  }
  return directory;
}

/** What `writeGenerated` wrote for the file `name`. */
async function load(directory: string, name: string): Promise<Generated> {
  const url = pathToFileURL(join(directory, name)).href;
  return {
    own: (await import(`${url}.js`)) as Codecs,
    stock: (await import(`${url}.stock.js`)) as Codecs,
  };
}

/** Generate and load the codecs of all messages of `schemas`. */
export async function loadCases(schemas: readonly Schema[]): Promise<Case[]> {
  const generated = await loadGenerated(
    new Map(schemas.map((schema) => [schema.package, protoText(schema)])),
  );
  return schemas.flatMap((schema) => {
    const { own, stock } = generated.get(schema.package)!;
    const { root } = protobufjs.parse(protoText(schema), { keepCase: true });
    root.resolveAll(); // Until then it takes groups for messages.
    return schema.messages.map((message) => ({
      schema,
      message,
      codec: own[message.name],
      stock: stock[message.name],
      protobufjs: root.lookupType(`${schema.package}.${message.name}`),
    }));
  });
}
