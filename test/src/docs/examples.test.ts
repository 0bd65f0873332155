import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { expect } from "chai";
import { host, serverOptions } from "../identity.js";
import { repository } from "./sandbox.js";

const execute = promisify(execFile);
const RUN_TIMEOUT_MS = 60_000;

describe("the examples", function () {
  this.timeout(4 * RUN_TIMEOUT_MS);

  let scratch: string;
  const servers: ChildProcess[] = [];

  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), "sluice-examples-"));
  });

  afterEach(async () => {
    for (const server of servers.splice(0)) await stop(server);
    rmSync(scratch, { recursive: true });
  });

  for (const [name, address] of [
    ["unix", () => `unix:${join(scratch, "greeter.sock")}`],
    ["tcp", () => "tcp://127.0.0.1:0"],
    ["shm", () => `shm:${join(scratch, "greeter.shm")}`],
  ] as const) {
    it(`greeter over ${name}`, async () => {
      const listening = await serve("greeter", address());
      expect(await run("greeter", "client", listening)).to.deep.equal([
        "Hello, Ada",
        "3",
        "2",
        "1",
        "The average is 3",
        "You said: Good morning",
        "You said: Goodbye",
      ]);
    });
  }

  it("greeter's server ends by SIGTERM, and takes its socket with it", async () => {
    const listening = await serve("greeter", `unix:${join(scratch, "greeter.sock")}`);
    expect(await stop(servers.pop()!)).to.equal(0);
    expect(readdirSync(scratch)).to.not.include("greeter.sock");
    expect(listening).to.be.a("string");
  });

  it("format formats the code in a file, by blocking calls from a callback", async () => {
    const listening = await serve("format", `shm:${join(scratch, "format.shm")}`);
    const blocks = [
      "```ts\nlet a={b:1}\n```",
      '```json\n{ "c":2 }\n```',
      "```js\nlet (\n```",
      "```text\nd   e\n```",
    ];
    writeFileSync(join(scratch, "page.md"), `${blocks.join("\n\n")}\n`);
    expect((await run("format", "markdown", listening, join(scratch, "page.md"))).join("\n")).to.equal(
      ["```ts\nlet a = { b: 1 };\n```", '```json\n{ "c": 2 }\n```', blocks[2], blocks[3]].join("\n\n"),
    );
  });

  it("pipeline counts the words of every file, with calls from the children", async () => {
    writeFileSync(join(scratch, "a.txt"), "the cat and the dog");
    writeFileSync(join(scratch, "b.txt"), "The end");
    const lines = await run("pipeline", "main", scratch);
    const reports = lines
      .slice(0, 2)
      .map((line) => line.replace(/^child [12]: /, "").replace(`${scratch}/`, ""));
    expect(reports).to.have.members(["5 words in a.txt", "2 words in b.txt"]);
    expect(lines.slice(2).map((line) => line.trim())).to.deep.equal([
      "3  the",
      "1  and",
      "1  cat",
      "1  dog",
      "1  end",
    ]);
  });

  describe("files", () => {
    let client: (...args: string[]) => Promise<string[]>;
    const content = Buffer.concat([Buffer.from("first line\nA Needle here\n"), Buffer.alloc(300_000, "x\n")]);

    beforeEach(async () => {
      mkdirSync(join(scratch, "root/sub"), { recursive: true });
      writeFileSync(join(scratch, "root/sub/large.txt"), content);
      writeFileSync(join(scratch, "root/binary"), Buffer.from("\0 needle"));
      writeFileSync(join(scratch, "secret"), "needle");
      symlinkSync("../secret", join(scratch, "root/link"));
      symlinkSync("..", join(scratch, "root/up"));
      const address = await serve("files", `unix:${join(scratch, "files.sock")}`, join(scratch, "root"));
      client = (...args) => run("files", "client", "--address", address, ...args);
    });

    it("lists regular files, and follows no links", async () => {
      const lines = (await client("list")).map((line) => line.trim());
      expect(lines).to.deep.equal([`8  binary`, `${content.length}  sub/large.txt`]);
    });

    it("hashes", async () => {
      const sha256 = createHash("sha256").update(content).digest("hex");
      expect(await client("hash", "sub/large.txt")).to.deep.equal([`${sha256}  sub/large.txt`]);
    });

    it("is reached over tls: with the certificate of its server", async () => {
      for (const [name, pem] of Object.entries(serverOptions))
        writeFileSync(join(scratch, name), pem as string);
      const pems = ["cert", "key"].map((name) => join(scratch, name));
      const address = await serve("files", `tls://${host}:0`, join(scratch, "root"), ...pems);
      const list = (...args: string[]) => run("files", "client", "--address", address, ...args, "list");
      expect(await list("--ca", pems[0]!)).to.have.lengthOf(2);
      expect(await refusal(list())).to.match(/^PERMISSION_DENIED: .* is self-signed/);
    });

    it("searches text files", async () => {
      expect(await client("search", "needle")).to.deep.equal([]);
      expect(await client("search", "--ignore-case", "needle")).to.deep.equal([
        "sub/large.txt:2: A Needle here",
      ]);
    });

    it("copies both ways", async () => {
      await client("get", "sub/large.txt", join(scratch, "copy"));
      expect(content.equals(readFileSync(join(scratch, "copy")))).to.equal(true);
      await client("put", join(scratch, "copy"), "new/folder/large.txt");
      expect(content.equals(readFileSync(join(scratch, "root/new/folder/large.txt")))).to.equal(true);
      expect(readdirSync(join(scratch, "root/new/folder"))).to.deep.equal(["large.txt"]);
    });

    for (const path of ["../secret", "/etc/hostname", "link", "up/secret", "sub/../../secret"]) {
      it(`does not leave its folder by ${path}`, async () => {
        expect(await refusal(client("hash", path))).to.match(/^PERMISSION_DENIED: .*outside the folder/);
        expect(await refusal(client("get", path, join(scratch, "stolen")))).to.match(/^PERMISSION_DENIED/);
        expect(readdirSync(scratch)).to.not.include("stolen");
      });
    }

    it("does not write outside its folder", async () => {
      for (const path of ["../secret", "up/secret", "up/new/secret"]) {
        expect(await refusal(client("put", join(scratch, "secret"), path))).to.match(/^PERMISSION_DENIED/);
      }
      expect(readdirSync(scratch).sort()).to.deep.equal(["files.sock", "root", "secret"]);
    });

    it("replaces a link that an upload names, not what it leads to", async () => {
      writeFileSync(join(scratch, "other"), "other");
      await client("put", join(scratch, "other"), "link");
      expect(readFileSync(join(scratch, "secret"), "utf8")).to.equal("needle");
      expect(readFileSync(join(scratch, "root/link"), "utf8")).to.equal("other");
    });

    it("says what is not there, and what is no file", async () => {
      expect(await refusal(client("hash", "none"))).to.equal('NOT_FOUND: there is no "none"');
      expect(await refusal(client("hash", "sub"))).to.equal(
        'FAILED_PRECONDITION: "sub" is not a regular file',
      );
    });
  });

  /** Start an example's server, and resolve to where it listens. */
  async function serve(example: string, address: string, ...args: string[]): Promise<string> {
    const server = spawn(process.execPath, [program(example, "server"), address, ...args], {
      stdio: ["ignore", "inherit", "pipe"],
    });
    servers.push(server);
    const lines = createInterface(server.stderr);
    const [line] = (await Promise.race([once(lines, "line"), once(lines, "close")])) as [string | undefined];
    expect(line).to.match(/^listening at /);
    return line!.replace("listening at ", "");
  }
});

/** Run an example's program to its end, and resolve to the lines that it printed. */
async function run(example: string, name: string, ...args: string[]): Promise<string[]> {
  const { stdout } = await execute(process.execPath, [program(example, name), ...args], {
    timeout: RUN_TIMEOUT_MS,
  });
  return stdout.split("\n").slice(0, -1);
}

/** What a program that fails says at the end. */
async function refusal(running: Promise<unknown>): Promise<string | undefined> {
  const error = await running.then(
    () => expect.fail("it did not fail"),
    (reason: unknown) => reason as { stderr: string },
  );
  return error.stderr.trimEnd().split("\n").at(-1);
}

function program(example: string, name: string): string {
  return join(repository, "examples", example, "dist", `${name}.js`);
}

/** End a server as a service manager would, and resolve to its exit code. */
async function stop(server: ChildProcess): Promise<number | null> {
  if (server.exitCode === null && server.signalCode === null) {
    server.kill("SIGTERM");
    await once(server, "exit");
  }
  return server.exitCode;
}
