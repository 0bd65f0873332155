import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { GenerateError, problemAt } from "./error.js";
import type { Inputs } from "./inputs.js";

/** No declaration can have these names; the last two not in CommonJS. */
const RESERVED = new Set(
  (
    "arguments await break case catch class const continue debugger default delete do else enum eval export extends false " +
    "finally for function if implements import in instanceof interface let new null package private protected public return " +
    "static super switch this throw true try typeof var void while with yield any bigint boolean never number object string " +
    "symbol undefined unknown inf nan exports require"
  ).split(" "),
);

/** Names that a message may have as long as the code does not need them: how it shows that it does. */
const NEEDED = new Map<string, RegExp>([
  ["Array", /(?<!\.)\bArray</],
  ["BigInt", /\bBigInt(?:\(|\.as)/],
  ["Map", /\bMap[<(]/],
  // CommonJS needs it before this variable, which hides it, is set.
  ["Object", /^export enum Object\b/m],
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

/** What cannot be called as it is, declared in the file of which `declaredIn` is the code. */
interface Clash {
  readonly declaredIn: string;
  readonly problem: string;
  /** Finds the declaration in its `.proto` file. */
  readonly declaration: RegExp;
}

/**
 * Refuse names that mean something else, or two things, in the code that ts-proto generated, which is wrong then.
 * `files` are that code by path.
 */
export function checkNames(files: ReadonlyMap<string, string>, inputs: Inputs): void {
  const problems = new Map<string, string>();
  for (const [path, code] of files) {
    const bare = code.replace(/\/\*[^]*?\*\/|\/\/.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, "");
    for (const [name, declaredIn] of findClashes(path, code, bare)) {
      const key = `${declaredIn} ${name}`;
      if (!problems.has(key)) problems.set(key, describe(inOtherUse(name, declaredIn, path), inputs));
    }
    for (const clash of findTwins(path, code, bare))
      problems.set(`${path} ${clash.problem}`, describe(clash, inputs));
  }
  if (problems.size > 0) throw new GenerateError([...problems.values()].join("\n"));
}

/** The names in a file that mean two things there, and the files that declare them. `bare` has neither comments nor strings. */
function findClashes(path: string, code: string, bare: string): [name: string, declaredIn: string][] {
  const imports = new Map(
    [...code.matchAll(/^import \{([^}]*)\} from "(\.[^"]*)\.js";$/gm)].flatMap(([, names, from]) => {
      const file = posix.join(posix.dirname(path), `${from}.ts`);
      return [...names.matchAll(/(\w+)\s*(?:,|$)/g)].map(([, name]) => [name, file] as const);
    }),
  );
  const declared = (kinds: string) => [
    ...imports.keys(),
    ...[...bare.matchAll(new RegExp(`^(?:export )?(?:${kinds}) (\\w+)`, "gm"))].map(([, name]) => name),
  ];
  const types = declared("interface|type|enum");
  const values = declared("const|enum|function");
  // Enums whose functions, which begin in lower case, are called the same.
  const functions = [...bare.matchAll(/^export function (\w+)FromJSON\(object: any\): (\w+)/gm)];
  const enums = twins(functions.map(([, prefix, name]) => [prefix, name]));
  // Every message and enum is a type.
  return [...new Set(types)]
    .filter(
      (name) =>
        RESERVED.has(name) ||
        enums.includes(name) ||
        NEEDED.get(name)?.test(bare) === true ||
        [types, values].some((names) => names.indexOf(name) !== names.lastIndexOf(name)),
    )
    .map((name) => [name, imports.get(name) ?? path]);
}

function inOtherUse(name: string, declaredIn: string, usedIn: string): Clash {
  const problem =
    `the name ${name} means something else in the code generated for ${protoOf(usedIn)}: ` +
    "rename it, or nest it in another message";
  // Not found when it is made of several names, or of one in snake_case.
  const declaration = new RegExp(`(?<=^\\s*|[{};]\\s*)(?:message|enum)\\s+${name}\\b`, "m");
  return { declaredIn, problem, declaration };
}

/** Members that are called the same: ts-proto makes camelCase of their names, and adds a value to each enum. */
function findTwins(path: string, code: string, bare: string): Clash[] {
  const clash = (problem: string, declaration: string): Clash => ({
    declaredIn: path,
    problem: `${problem} in the code generated for ${protoOf(path)}: rename ${problem.startsWith("two") ? "one" : "it"}`,
    declaration: new RegExp(declaration),
  });
  /** What finds a message or enum, which may be nested in others. */
  const named = (name: string) => `\\s+(?:\\w+_)?${name.split("_").at(-1)}\\s*\\{`;
  const enums = [...bare.matchAll(/^export enum (\w+) \{([^}]*)/gm)].flatMap(([, name, body]) =>
    twins(members(body, /^ {2}(\w+) =/gm)).map((value) =>
      clash(
        `the value ${value} of ${name} means something else`,
        `(?<=enum${named(name)}[^}]*)\\b${value}\\b`,
      ),
    ),
  );
  const messages = [...bare.matchAll(/^export interface (\w+) \{([^]*?)^\}/gm)].flatMap(([, name, body]) =>
    twins(members(body, /^ {2}(\w+)\??:/gm)).map((field) =>
      clash(`two fields or oneofs of ${name} are called ${field}`, `message${named(name)}`),
    ),
  );
  const services = [...code.matchAll(/^export const \w+ = \{\n {2}name: "(\w+)",([^]*?)^\} as/gm)].flatMap(
    ([, service, body]) =>
      twins(members(body, /^ {4}(\w+): \{\n {6}name: "(\w+)"/gm)).map((method) =>
        clash(
          `two methods of ${service}, one of them ${method}, are called the same`,
          `(?<=service\\s+${service}\\b[^]*?)rpc\\s+${method}\\b`,
        ),
      ),
  );
  return [...enums, ...messages, ...services];
}

/** What `pattern` finds: the name of each member, and that which it was declared by where it tells. */
function members(body: string, pattern: RegExp): [name: string, declared: string][] {
  return [...body.matchAll(pattern)].map(([, name, declared = name]) => [name, declared]);
}

/** What those were declared by whose name another has before them. */
function twins(named: readonly (readonly [name: string, declared: string])[]): string[] {
  const names = named.map(([name]) => name);
  return named.filter(([name], i) => names.indexOf(name) < i).map(([, declared]) => declared);
}

function describe({ declaredIn, problem, declaration }: Clash, { roots }: Inputs): string {
  const proto = protoOf(declaredIn);
  const file = roots.map((root) => join(root, proto)).find((path) => existsSync(path));
  if (file === undefined) return `${proto}: ${problem}`;
  const source = readFileSync(file, "utf8");
  const before = source.split(declaration, 1)[0];
  if (before === source) return problemAt(file, undefined, problem);
  const lines = before.split("\n");
  return problemAt(file, { row: lines.length, column: lines.at(-1)!.length + 1 }, problem);
}

function protoOf(path: string): string {
  return path.replace(/\.ts$/, ".proto");
}
