import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { GenerateError, problemAt } from "./error.js";
import type { Inputs } from "./inputs.js";

/** No declaration can have these names. */
const RESERVED = new Set(
  (
    "arguments await break case catch class const continue debugger default delete do else enum eval export extends false " +
    "finally for function if implements import in instanceof interface let new null package private protected public return " +
    "static super switch this throw true try typeof var void while with yield any bigint boolean never number object string " +
    "symbol undefined unknown inf nan"
  ).split(" "),
);

/** Names that a message may have as long as the code does not need them: how it shows that it does. */
const NEEDED = new Map<string, RegExp>([
  ["Array", /(?<!\.)\bArray</],
  ["BigInt", /\bBigInt(?:\(|\.as)/],
  ["Map", /\bMap[<(]/],
  ["Math", /\bMath\.(?:round|trunc)\(/],
  ["Partial", /\bPartial</],
  ["ReadonlyArray", /\bReadonlyArray</],
  ["Uint8Array", /\| Uint8Array, length\?/],
  // Of wrappers, such as google.protobuf.StringValue, the values are converted.
  ...["String", "Number", "Boolean"].map((name) => [name, new RegExp(`(?<![.\\w])${name}\\(`)] as const),
  ["emptyBytes", /\bnew Uint8Array\(0\)/],
  ["globalThis", /\bglobalThis(?:\.[A-Z]| as )/],
  // Variables, which hide a message of their name where it is encoded or decoded, ...
  ...["end", "input", "length", "message", "reader", "tag", "writer"].map(
    (name) => [name, new RegExp(`\\b${name}\\.(?:en|de)code\\(`)] as const,
  ),
  // ... or where all elements of a field or entries of a map are handled, or one is created.
  ...["acc", "base", "e", "k", "key", "m", "v", "value"].map(
    (name) => [name, new RegExp(`\\b${name}\\.\\w+\\((?:${name}!?|v|value)[,) ]`)] as const,
  ),
]);

/**
 * Refuse messages and enums whose names mean something else in the code that ts-proto generated, which is wrong then.
 * `files` are that code by path.
 */
export function checkNames(files: ReadonlyMap<string, string>, inputs: Inputs): void {
  const problems = new Map<string, string>();
  for (const [path, code] of files) {
    for (const [name, declaredIn] of findClashes(path, code)) {
      const key = `${declaredIn} ${name}`;
      if (!problems.has(key)) problems.set(key, describe(name, protoOf(declaredIn), protoOf(path), inputs));
    }
  }
  if (problems.size > 0) throw new GenerateError([...problems.values()].join("\n"));
}

/** The names in a file that mean two things there, and the files that declare them. */
function findClashes(path: string, code: string): [name: string, declaredIn: string][] {
  const imports = new Map(
    [...code.matchAll(/^import \{([^}]*)\} from "(\.[^"]*)\.js";$/gm)].flatMap(([, names, from]) => {
      const file = posix.join(posix.dirname(path), `${from}.ts`);
      return [...names.matchAll(/(\w+)\s*(?:,|$)/g)].map(([, name]) => [name, file] as const);
    }),
  );
  const bare = code.replace(/\/\*[^]*?\*\/|\/\/.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, "");
  const declared = (kinds: string) => [
    ...imports.keys(),
    ...[...bare.matchAll(new RegExp(`^(?:export )?(?:${kinds}) (\\w+)`, "gm"))].map(([, name]) => name),
  ];
  const types = declared("interface|type|enum");
  const values = declared("const|enum|function");
  // Every message and enum is a type.
  return [...new Set(types)]
    .filter(
      (name) =>
        RESERVED.has(name) ||
        NEEDED.get(name)?.test(bare) === true ||
        [types, values].some((names) => names.indexOf(name) !== names.lastIndexOf(name)),
    )
    .map((name) => [name, imports.get(name) ?? path]);
}

function describe(name: string, declaredIn: string, usedIn: string, { roots }: Inputs): string {
  const problem =
    `the name ${name} means something else in the code generated for ${usedIn}: ` +
    "rename it, or nest it in another message";
  const file = roots.map((root) => join(root, declaredIn)).find((path) => existsSync(path));
  if (file === undefined) return `${declaredIn}: ${problem}`;
  const source = readFileSync(file, "utf8");
  const before = source.split(new RegExp(`(?<=^\\s*|[{};]\\s*)(?:message|enum)\\s+${name}\\b`, "m"), 1)[0];
  // Not found when it is made of several names, or of one in snake_case.
  if (before === source) return problemAt(file, undefined, problem);
  const lines = before.split("\n");
  return problemAt(file, { row: lines.length, column: lines.at(-1)!.length + 1 }, problem);
}

function protoOf(path: string): string {
  return path.replace(/\.ts$/, ".proto");
}
