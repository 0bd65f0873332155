import { readFileSync } from "node:fs";
import { expect } from "chai";
import { Workspace } from "./workspace.js";

describe("sluice", function () {
  this.timeout(60_000);
  let workspace: Workspace;

  beforeEach(() => {
    workspace = new Workspace();
    workspace.write("proto/a.proto", 'syntax = "proto3"; package a; message A { int32 n = 1; }\n');
    workspace.write("proto/deep/b.proto", 'syntax = "proto3"; package b; message B { string s = 1; }\n');
  });

  afterEach(() => workspace.remove());

  /** Runs that must fail with each of `problems` on standard error. */
  async function fails(args: string[], ...problems: string[]): Promise<void> {
    const { exitCode, stderr } = await workspace.sluice(...args);
    for (const problem of problems) expect(stderr).to.include(problem);
    expect(stderr).not.to.match(/^\s+at /m);
    expect(exitCode).to.equal(1);
  }

  it("says its version", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    expect(await workspace.sluice("--version")).to.include({ exitCode: 0, stdout: `${version}\n` });
  });

  it("prints a new secret each time", async () => {
    const [one, other] = [await workspace.sluice("secret"), await workspace.sluice("secret")];
    expect(one.stdout).to.match(/^[0-9a-f]{64}\n$/);
    expect(other.stdout)
      .to.match(/^[0-9a-f]{64}\n$/)
      .and.to.not.equal(one.stdout);
  });

  it("explains how it is used when it is used wrongly", async () => {
    await fails(["generate", "--out", "gen"], "missing required argument 'inputs'", "Usage: sluice generate");
    await fails(["generate", "proto"], "--out <dir>' not specified");
    await fails(["produce"], "unknown command 'produce'");
  });

  it("generates a directory, files in the same places", async () => {
    const { exitCode, stdout } = await workspace.sluice("generate", "proto", "--out", "gen/deep");
    expect({ exitCode, stdout }).to.deep.equal({
      exitCode: 0,
      stdout: "2 files in gen/deep, 2 written, 0 removed\n",
    });
    expect(workspace.files("gen/deep")).to.deep.equal(["a.ts", "deep/b.ts"]);
  });

  it("generates files, relative to their directory or to the one included", async () => {
    await workspace.sluice("generate", "proto/deep/b.proto", "--out", "gen");
    expect(workspace.files("gen")).to.deep.equal(["b.ts"]);
    await workspace.sluice("generate", "proto/deep/b.proto", "--include", "proto", "--out", "gen");
    expect(workspace.files("gen")).to.deep.equal(["deep/b.ts"]);
    await workspace.sluice("generate", "proto/deep", "proto/deep/b.proto", "proto", "--out", "gen");
    expect(workspace.files("gen")).to.deep.equal(["a.ts", "deep/b.ts"]);
  });

  it("generates what is imported from included directories, and nothing else of them", async () => {
    workspace.write("lib/used.proto", 'syntax = "proto3"; package lib; message Used {}\n');
    workspace.write("lib/unused.proto", 'syntax = "proto3"; package lib; message Unused {}\n');
    workspace.write(
      "proto/a.proto",
      'syntax = "proto3"; package a; import "used.proto"; message A { lib.Used used = 1; }\n',
    );
    const { exitCode } = await workspace.sluice("generate", "proto", "-I", "lib", "-o", "gen");
    expect(exitCode).to.equal(0);
    expect(workspace.files("gen")).to.deep.equal(["a.ts", "deep/b.ts", "used.ts"]);
  });

  it("takes one directory after each -I, wherever it stands", async () => {
    workspace.write("lib/used.proto", 'syntax = "proto3"; package lib; message Used {}\n');
    workspace.write("more/used.too.proto", 'syntax = "proto3"; package more; message Too {}\n');
    workspace.write(
      "proto/a.proto",
      'syntax = "proto3"; import "used.proto"; import "used.too.proto"; message A { lib.Used a = 1; more.Too b = 2; }\n',
    );
    for (const args of [
      ["-I", "lib", "--include", "more", "proto/a.proto", "-o", "gen"],
      ["-o", "gen", "-I", "lib", "-I", "more", "proto/a.proto"],
      ["-Ilib", "proto/a.proto", "--include=more", "--out=gen"],
    ]) {
      const { exitCode, stderr } = await workspace.sluice("generate", ...args);
      expect({ exitCode, stderr }, args.join(" ")).to.deep.equal({ exitCode: 0, stderr: "" });
      expect(workspace.files("gen")).to.deep.equal(["a.ts", "used.too.ts", "used.ts"]);
    }
  });

  it("writes what changed, removes what it no longer generates, and leaves the rest alone", async () => {
    await workspace.sluice("generate", "proto", "--out", "gen");
    workspace.write("gen/own.ts", "export {};\n");
    workspace.write("gen/deep/notes.txt", "mine\n");
    workspace.write("gen/other/c.ts", workspace.read("gen/a.ts"));
    workspace.write("gen/a.ts", `${workspace.read("gen/a.ts")}// changed\n`);
    const { stdout } = await workspace.sluice("generate", "proto/a.proto", "--out", "gen");
    expect(stdout).to.match(/^removed: .*\nremoved: .*\n1 file in gen, 1 written, 2 removed\n$/);
    expect(stdout).to.include("removed: deep/b.ts\n").and.include("removed: other/c.ts\n");
    expect(workspace.files("gen")).to.deep.equal(["a.ts", "deep/notes.txt", "own.ts"]);
    expect(workspace.read("gen/a.ts")).not.to.include("changed");
  });

  it("checks that the output is up to date, without touching it", async () => {
    const check = () => workspace.sluice("generate", "proto", "--out", "gen", "--check");
    expect(await check()).to.deep.include({
      exitCode: 1,
      stdout: "",
      stderr:
        "missing: a.ts\nmissing: deep/b.ts\ngen is not up to date: run sluice generate without --check\n",
    });
    await workspace.sluice("generate", "proto", "--out", "gen");
    expect(await check()).to.deep.include({ exitCode: 0, stdout: "2 files in gen are up to date\n" });
    const one = await workspace.sluice("generate", "proto/a.proto", "--out", "one");
    expect(one.stdout).to.equal("1 file in one, 1 written, 0 removed\n");
    const same = await workspace.sluice("generate", "proto/a.proto", "--out", "one", "--check");
    expect(same.stdout).to.equal("1 file in one is up to date\n");
    workspace.write("gen/c.ts", workspace.read("gen/a.ts"));
    workspace.write("gen/own.ts", "export {};\n");
    workspace.write("gen/a.ts", `${workspace.read("gen/a.ts")}// changed\n`);
    const before = workspace.files("gen").map((file) => workspace.read(`gen/${file}`));
    const { exitCode, stderr } = await check();
    expect(exitCode).to.equal(1);
    expect(stderr).to.match(/^stale: a\.ts\nextra: c\.ts\ngen is not up to date/);
    expect(workspace.files("gen").map((file) => workspace.read(`gen/${file}`))).to.deep.equal(before);
  });

  it("reports every error with file, line, column and the line itself", async () => {
    workspace.write(
      "proto/a.proto",
      'syntax = "proto3";\npackage a;\nmessage A {\n  Missing m = 1;\n  int32 n = 1;\n}\n',
    );
    workspace.write("proto/deep/b.proto", 'syntax = "proto3";\nmessage B {\n  string s = ;\n}\n');
    await fails(
      ["generate", "proto", "--out", "gen"],
      "proto/a.proto:4:3: cannot find `Missing` in this scope\n    Missing m = 1;\n",
      "proto/deep/b.proto:3:14: ",
    );
    expect(() => workspace.files("gen")).to.throw("ENOENT");
  });

  it("says where it looked for an import that it does not find", async () => {
    workspace.write("proto/a.proto", 'syntax = "proto3";\nimport "lib/c.proto";\n');
    await fails(
      ["generate", "proto", "--out", "gen"],
      'proto/a.proto:2:1: imported file does not exist\n    import "lib/c.proto";\n',
      "--include DIR",
    );
  });

  it("refuses inputs that are not there, or not protocol buffers", async () => {
    workspace.write("readme.txt", "text\n");
    workspace.write("empty/readme.txt", "text\n");
    await fails(["generate", "nowhere", "--out", "gen"], "cannot read nowhere: no such file or directory");
    await fails(["generate", "proto/c.proto", "--out", "gen"], "cannot read proto/c.proto: no such file");
    await fails(["generate", "readme.txt", "--out", "gen"], "readme.txt: it is not a .proto file");
    await fails(["generate", "empty", "--out", "gen"], "no .proto file in empty");
    await fails(
      ["generate", "proto", "-I", "no", "--out", "gen"],
      "cannot read no: no such file or directory",
    );
    await fails(["generate", "proto", "-o", "gen", "-I", "readme.txt"], "readme.txt: it is not a directory");
  });

  it("refuses two files for one output", async () => {
    workspace.write("other/a.proto", 'syntax = "proto3"; package other;\n');
    await fails(
      ["generate", "proto", "other", "--out", "gen"],
      "proto/a.proto",
      "other/a.proto",
      "--include",
    );
  });

  it("refuses an output directory that it cannot write to", async () => {
    workspace.write("gen", "a file\n");
    await fails(
      ["generate", "proto", "--out", "gen"],
      "cannot write to gen: it, or part of its path, is a file",
    );
    workspace.write("half/deep", "a file\n");
    await fails(["generate", "proto", "--out", "half"], "half/deep/b.ts", "is a file, not a directory");
    await fails(["generate", "proto", "--out", ""], "the output directory's name is empty");
    expect(workspace.files(".")).to.deep.equal([
      "gen",
      "half/a.ts",
      "half/deep",
      "proto/a.proto",
      "proto/deep/b.proto",
    ]);
  });

  it("says what to do when there is no directory for temporary files", async () => {
    workspace.environment = { TMPDIR: "/nowhere", TMP: "/nowhere", TEMP: "/nowhere" };
    await fails(
      ["generate", "proto", "--out", "gen"],
      "cannot make a temporary directory in /nowhere: no such file or directory: set TMPDIR to",
    );
  });

  /** A file of which the code needs all that it may need. */
  const EVERYTHING = `syntax = "proto3";
package p;
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Everything {
  map<string, int64> map = 1;
  repeated bytes bytes = 2;
  google.protobuf.Timestamp time = 3;
  google.protobuf.ListValue list = 4;
  google.protobuf.StringValue string = 5;
  google.protobuf.DoubleValue double = 6;
  google.protobuf.BoolValue bool = 7;
}
enum Color { NONE = 0; }
service Painter { rpc Paint(Everything) returns (Everything); }
`;
  const needed =
    "Array BigInt Boolean Builtin DeepPartial Map Math MessageFns Number Partial ReadonlyArray String Uint8Array PainterDefinition " +
    "colorFromJSON protobufPackage isSet globalThis class string undefined exports require";
  for (const kind of ["message", "enum"]) {
    it(`refuses each ${kind} whose name the generated code needs, and writes nothing`, async () => {
      const names = needed.split(" ");
      const body = kind === "enum" ? (name: string) => `${name}_ZERO = 0;` : () => "";
      const declarations = names.map((name) => `${kind} ${name} { ${body(name)} }\n`);
      workspace.write("proto/a.proto", EVERYTHING + declarations.join(""));
      const first = EVERYTHING.split("\n").length;
      await fails(
        ["generate", "proto", "--out", "gen"],
        ...names.map(
          (name, i) =>
            `proto/a.proto:${first + i}:1: the name ${name} means something else in the code generated for a.proto: ` +
            `rename it, or nest it in another message\n    ${kind} ${name} {`,
        ),
      );
      expect(() => workspace.files("gen")).to.throw("ENOENT");
    });
  }

  it("refuses names that only the code of another file needs, where they are declared", async () => {
    workspace.write("proto/deep/b.proto", 'syntax = "proto3";\npackage p;\n\nmessage Map {}\n');
    workspace.write("proto/a.proto", `${EVERYTHING}import "deep/b.proto";\nmessage Own { Map map = 1; }\n`);
    await fails(
      ["generate", "proto", "--out", "gen"],
      "proto/deep/b.proto:4:1: the name Map means something else in the code generated for a.proto",
    );
  });

  it("refuses names of which the code would have two, where the second is declared", async () => {
    workspace.write(
      "proto/a.proto",
      `syntax = "proto3";
package p;
enum Color { RED = 0; UNRECOGNIZED = 1; }
message Paint {
  enum Kind {
    OIL = 0;
    UNRECOGNIZED = 1;
  }
  oneof some_color { Color color = 1; }
  string someColor = 2;
}
service Painter {
  rpc Get(Paint) returns (Paint);
  rpc get(Paint) returns (Paint);
}
enum kind_of { A = 0; }
enum KindOf { B = 0; }
enum Object { C = 0; }
`,
    );
    const inCode = "in the code generated for a.proto: rename";
    await fails(
      ["generate", "proto", "--out", "gen"],
      `proto/a.proto:3:23: the value UNRECOGNIZED of Color means something else ${inCode} it\n`,
      `proto/a.proto:7:5: the value UNRECOGNIZED of Paint_Kind means something else ${inCode} it\n`,
      `proto/a.proto:4:1: two fields or oneofs of Paint are called someColor ${inCode} one\n`,
      `proto/a.proto:14:3: two methods of Painter, one of them get, are called the same ${inCode} one\n`,
      `proto/a.proto:17:1: the name KindOf means something else ${inCode} it`,
      `proto/a.proto:18:1: the name Object means something else ${inCode} it`,
    );
    expect(() => workspace.files("gen")).to.throw("ENOENT");
  });

  it("passes lint and breaking on to buf", async () => {
    const lint = await workspace.sluice("lint", "proto", "--error-format", "json");
    expect(lint.exitCode).to.equal(100);
    expect(lint.stdout).to.include('"type":"PACKAGE_DIRECTORY_MATCH"');
    workspace.write("old/a.proto", 'syntax = "proto3"; package a; message A { int64 n = 1; }\n');
    workspace.write("old/deep/b.proto", workspace.read("proto/deep/b.proto"));
    const breaking = await workspace.sluice("breaking", "proto", "--against", "old");
    expect(breaking.exitCode).to.equal(100);
    expect(breaking.stdout).to.match(/a\.proto:1:\d+:Field "1"/);
    expect((await workspace.sluice("breaking", "proto", "--against", "proto")).exitCode).to.equal(0);
    expect((await workspace.sluice("lint", "--help")).stdout).to.include("buf lint");
  });
});
