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
  // Beside this file, so that the generated code finds @sluice/core.
  const directory = mkdtempSync(join(fileURLToPath(new URL(".", import.meta.url)), "generated-"));
  const load = async (file: string, code: string) => {
    writeFileSync(join(directory, file), code);
    return (await import(pathToFileURL(join(directory, file)).href)) as Codecs;
  };
  try {
    const source = join(directory, "proto");
    mkdirSync(source);
    for (const [name, text] of protos) writeFileSync(join(source, `${name}.proto`), text);
    await generate({ inputs: [source], out: directory });
    const result = new Map<string, Generated>();
    for (const name of protos.keys()) {
      const { outputText } = ts.transpileModule(readFileSync(join(directory, `${name}.ts`), "utf8"), {
        compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
      });
      const stockText = outputText.replace(
        "import { BinaryReader, BinaryWriter",
        'import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";\nimport { WireType',
      );
      const own = await load(`${name}.js`, outputText);
      result.set(name, { own, stock: await load(`${name}.stock.js`, stockText) });
    }
    return result;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
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
