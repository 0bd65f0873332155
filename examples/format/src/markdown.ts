// Prints a Markdown file with its code formatted. What String.replace calls must return a string, not a promise of one: this
// is where a synchronous client helps.
import { readFileSync } from "node:fs";
import { createSyncClient, RpcError, Status } from "@sluice/node";
import { FormatterDefinition } from "./gen/format.js";

const [address, path] = process.argv.slice(2);
if (address === undefined || path === undefined) throw new Error("usage: markdown.js ADDRESS FILE");

const formatter = createSyncClient(FormatterDefinition, address, { timeoutMs: 10_000 });

const PARSERS: Record<string, string> = { js: "babel", json: "json", ts: "typescript" };

function formatBlock(block: string, language: string, source: string): string {
  const parser = PARSERS[language];
  if (parser === undefined) return block;
  try {
    return `\`\`\`${language}\n${formatter.format({ source, parser }).formatted}\`\`\``;
  } catch (error) {
    if (!(error instanceof RpcError) || error.code !== Status.INVALID_ARGUMENT) throw error;
    console.error(`left as it is: ${error.message}`);
    return block;
  }
}

const text = readFileSync(path, "utf8");
process.stdout.write(text.replace(/^```(\w+)\n(.*?)^```$/gms, formatBlock));
formatter.close();
