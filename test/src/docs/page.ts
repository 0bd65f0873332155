import { readFileSync } from "node:fs";

/** A fenced block of a page, in one of the forms that CONTRIBUTING.md describes. */
export type Block =
  | { readonly kind: "file"; readonly name: string; readonly text: string; readonly line: number }
  | {
      readonly kind: "shell";
      readonly text: string;
      readonly prints: string | undefined;
      readonly line: number;
    };

interface Fence {
  readonly language: string;
  readonly text: string;
  readonly line: number;
  /** Whether nothing but blank lines is between the fence before and this one. */
  readonly follows: boolean;
}

const FILE_NAME = /^\/\/ ([\w./-]+\.\w+)\n/;

/** The blocks of a page that are to be written or run, in order. Throws for a block in a language that is neither. */
export function blocks(path: string): Block[] {
  const fences = readFences(readFileSync(path, "utf8"));
  return fences.flatMap(({ language, text, line }, index): Block[] => {
    const next = fences[index + 1];
    const name = FILE_NAME.exec(text)?.[1];
    switch (language) {
      case "ts":
        return [{ kind: "file", name: name ?? `line-${line}.ts`, text, line }];
      case "proto":
      case "json":
        return name === undefined ? [] : [{ kind: "file", name, text, line }];
      case "sh":
        return [
          {
            kind: "shell",
            text,
            prints: next?.language === "text" && next.follows ? next.text : undefined,
            line,
          },
        ];
      case "text":
      case "mermaid":
        return [];
      default:
        throw new Error(
          `${path}:${line}: a block in "${language}" is not run by anything: use ts, proto, json, sh, text or mermaid`,
        );
    }
  });
}

/** The relative targets of a page's links. */
export function links(path: string): string[] {
  const prose = readFileSync(path, "utf8").replaceAll(/^```[^]*?^```$|`[^`]*`/gm, "");
  return [...prose.matchAll(/\]\(([^)#]+)[^)]*\)/g)]
    .map((match) => match[1]!)
    .filter((link) => !/^\w+:/.test(link));
}

/** The commands of packages that are called otherwise. */
const COMMANDS: Readonly<Record<string, string>> = { sluice: "@sluice/cli", tsc: "typescript" };

/** The packages that a page's blocks import or run, and those that they install. */
export function packages(found: readonly Block[]): {
  readonly used: Set<string>;
  readonly installed: Set<string>;
} {
  const used = new Set<string>();
  const installed = new Set<string>();
  for (const block of found) {
    if (block.kind === "file") {
      for (const [, name] of block.text.matchAll(/\bfrom "((?:@[\w-]+\/)?[\w-]+)(?:\/[^"]*)?"/g))
        used.add(name!);
      continue;
    }
    for (const [, command] of block.text.matchAll(/\bnpx (\w+)/g)) used.add(COMMANDS[command!] ?? command!);
    for (const [, names] of block.text.matchAll(/\bnpm install (.+)/g))
      for (const name of names!.split(" ")) if (!name.startsWith("-")) installed.add(name);
  }
  return { used, installed };
}

function readFences(markdown: string): Fence[] {
  const fences: Fence[] = [];
  let open: { language: string; line: number; lines: string[]; follows: boolean } | undefined;
  let onlyBlank = false;
  for (const [index, line] of markdown.split("\n").entries()) {
    if (open && line === "```") {
      fences.push({ ...open, text: open.lines.map((one) => `${one}\n`).join("") });
      open = undefined;
      onlyBlank = true;
    } else if (open) {
      open.lines.push(line);
    } else if (line.startsWith("```")) {
      open = { language: line.slice(3), line: index + 1, lines: [], follows: onlyBlank };
    } else if (line !== "") {
      onlyBlank = false;
    }
  }
  if (open) throw new Error(`the block that begins in line ${open.line} has no end`);
  return fences;
}
