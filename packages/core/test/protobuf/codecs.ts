import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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

/** Generate and load the codecs of all messages of `schemas`, as `sluice generate` makes them. */
export async function loadCases(schemas: readonly Schema[]): Promise<Case[]> {
  // Beside this file, so that the generated code finds @sluice/core.
  const directory = mkdtempSync(join(fileURLToPath(new URL(".", import.meta.url)), "generated-"));
  try {
    const source = join(directory, "proto");
    mkdirSync(source);
    for (const schema of schemas) writeFileSync(join(source, `${schema.package}.proto`), protoText(schema));
    await generate({ inputs: [source], out: directory });
    for (const file of readdirSync(directory).filter((name) => name.endsWith(".ts"))) {
      const { outputText } = ts.transpileModule(readFileSync(join(directory, file), "utf8"), {
        compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
      });
      writeFileSync(join(directory, file.replace(/\.ts$/, ".js")), outputText);
      const stock = outputText.replace(
        "import { BinaryReader, BinaryWriter",
        'import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";\nimport { WireType',
      );
      writeFileSync(join(directory, file.replace(/\.ts$/, ".stock.js")), stock);
    }
    const cases: Case[] = [];
    for (const schema of schemas) {
      const load = async (suffix: string) => {
        const file = pathToFileURL(join(directory, schema.package + suffix)).href;
        return (await import(file)) as Record<string, GeneratedCodec>;
      };
      const generated = await load(".js");
      const stock = await load(".stock.js");
      const { root } = protobufjs.parse(protoText(schema), { keepCase: true });
      for (const message of schema.messages) {
        const type = root.lookupType(`${schema.package}.${message.name}`);
        const { name } = message;
        cases.push({ schema, message, codec: generated[name], stock: stock[name], protobufjs: type });
      }
    }
    return cases;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
