import { spawn as spawnProcess, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { RpcError, Status } from "@sluice/core";
import type { Spawned, SpawnOptions } from "@sluice/transports";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { refusal } from "./refusal.js";
import { describeVariants, variants } from "./variants.js";
import { textFrame, textOf } from "./text.js";

const program = fileURLToPath(new URL("./child.js", import.meta.url));

describeVariants("spawn", ({ name, transports }) => {
  const children: ChildProcess[] = [];
  const endpoints: Endpoint[] = [];

  async function spawn(
    mode: string,
    options: SpawnOptions = {},
    childVariant: string = name,
  ): Promise<Endpoint> {
    const scheme = (options.over ?? "pipe:").slice(0, -1);
    const spawned = await transports.spawn(process.execPath, [program, childVariant, scheme, mode], options);
    return started(spawned);
  }

  function started({ connection, process: child }: Spawned): Endpoint {
    children.push(child);
    const endpoint = new Endpoint(connection);
    endpoints.push(endpoint);
    return endpoint.start();
  }

  /** The text of the answer to `text`. */
  async function ask(endpoint: Endpoint, text: string): Promise<string> {
    endpoint.send(textFrame(text));
    const count = endpoint.frames.length + 1;
    await endpoint.received(count);
    const frame = endpoint.frames[count - 1]!;
    return textOf(frame, 0, frame.length);
  }

  async function exitOf(endpoint: Endpoint): Promise<unknown[]> {
    const child = children[endpoints.indexOf(endpoint)]!;
    if (child.exitCode !== null || child.signalCode !== null) return [child.exitCode, child.signalCode];
    return once(child, "exit");
  }

  afterEach(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    }
    for (const endpoint of endpoints) {
      await endpoint.closed;
      expect(endpoint.violations).to.deep.equal([]);
    }
    children.length = endpoints.length = 0;
  });

  for (const over of ["pipe:", "stdio:"] as const) {
    describe(over, () => {
      for (const variant of variants) {
        it(`carries frames of every size to a child (${variant.name}) and back`, async () => {
          const endpoint = await spawn("echo", { over }, variant.name);
          for (const text of ["", "a", "x".repeat(1000), "y".repeat(60_000)]) {
            expect(await ask(endpoint, text)).to.equal(text);
          }
          const before = endpoint.frameCount;
          endpoint.consume = () => {};
          await Promise.all([
            endpoint.sendAll(Array.from({ length: 200 }, (_, i) => makeFrame(i, 12 + 300 * i))),
            endpoint.received(before + 200),
          ]);
          endpoint.close();
          expect(await endpoint.closed).to.equal(undefined);
          expect(await exitOf(endpoint)).to.deep.equal([0, null]);
        });
      }

      it("knows the child's pid", async () => {
        const endpoint = await spawn("echo", { over });
        expect(endpoint.connection.peer).to.deep.equal({ address: over, pid: children[0]!.pid });
        expect(endpoint.connection.traits.reconnectable).to.equal(false);
      });

      it("is told when the child exits or is killed", async () => {
        const exiting = await spawn("exit", { over });
        exiting.send(textFrame("now"));
        await exiting.closed;
        expect(await exitOf(exiting)).to.deep.equal([3, null]);

        const killed = await spawn("echo", { over });
        await ask(killed, "alive");
        children[1]!.kill("SIGKILL");
        await killed.closed;
      });

      it("delivers what the child sent before it closed its end, though the child lives on", async () => {
        const endpoint = await spawn("close", { over });
        expect(await endpoint.closed).to.equal(undefined);
        const frame = endpoint.frames[0]!;
        expect(textOf(frame, 0, frame.length)).to.equal("last words");
        expect(children[0]!.exitCode).to.equal(null);
      });

      it("lets the child end when the parent is killed", async () => {
        const scheme = over.slice(0, -1);
        const parent = spawnProcess(process.execPath, [program, name, scheme, "parent"], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const [line] = (await once(parent.stdout, "data")) as [Buffer];
        const pid = Number(line.toString());
        expect(isRunning(pid)).to.equal(true);
        parent.kill("SIGKILL");
        await once(parent, "exit");
        while (isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
      });

      it("does not keep the parent alive after unref", async () => {
        const scheme = over.slice(0, -1);
        const parent = spawnProcess(process.execPath, [program, name, scheme, "unref"], {
          stdio: ["ignore", "ignore", "inherit"],
        });
        expect(await once(parent, "exit")).to.deep.equal([0, null]);
      });
    });
  }

  it("gives the child real pipes, names them in a variable, and takes that away", async () => {
    const endpoint = await spawn("inspect");
    const report = JSON.parse(await ask(endpoint, "")) as Record<string, unknown>;
    // Node's own "pipe" is a pair of sockets.
    expect(report["kinds"]).to.deep.equal([name === "native", name === "native"]);
    expect(report["before"]).to.match(/^3\b.*,4\b/);
    expect(report["after"]).to.equal("unset");
    expect(report["again"]).to.contain("FAILED_PRECONDITION").and.to.contain("listened at before");
    expect(String(report["grandchild"]).trim()).to.equal("undefined");
  });

  it("gives the child real pipes as standard input and output", async () => {
    const endpoint = await spawn("inspect", { over: "stdio:" });
    const report = JSON.parse(await ask(endpoint, "")) as Record<string, unknown>;
    expect(report["kinds"]).to.deep.equal([name === "native", name === "native"]);
    expect(report["before"]).to.equal(undefined);
    expect(report["again"]).to.contain("ALREADY_EXISTS");
  });

  it("keeps what a stdio: child prints out of the stream", async () => {
    const { connection, process: child } = await transports.spawn(
      process.execPath,
      [program, name, "stdio", "print"],
      {
        over: "stdio:",
        stdio: [undefined, undefined, "pipe"],
      },
    );
    let printed = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => (printed += text));
    const endpoint = started({ connection, process: child });
    expect(await ask(endpoint, "hello")).to.equal("hello, nothing on standard input");
    endpoint.close();
    await once(child, "close");
    const lines = ["by console.log", "by process.stdout", ...(name === "native" ? ["by a program"] : [])];
    expect(printed.trim().split("\n")).to.have.members(lines);
  });

  it("leaves the child's standard streams to the caller over pipe:", async () => {
    const { connection, process: child } = await transports.spawn("cat", [], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const endpoint = started({ connection, process: child });
    child.stdin!.end("through");
    const [chunk] = (await once(child.stdout!, "data")) as [Buffer];
    expect(chunk.toString()).to.equal("through");
    expect(await endpoint.closed).to.equal(undefined);
  });

  it("speaks with a program in another language", async () => {
    // Sends back the bytes that it reads, knowing nothing of frames.
    const endpoint = started(await transports.spawn("cat", [], { over: "stdio:" }));
    expect(await ask(endpoint, "echo")).to.equal("echo");
    endpoint.close();
    expect(await endpoint.closed).to.equal(undefined);
    expect(await exitOf(endpoint)).to.deep.equal([0, null]);
  });

  it("passes the environment, the directory and other options on", async () => {
    const script = 'printf "%s %s %s" "$GREETING" "$PWD" "$0" >&2';
    const spawned = await transports.spawn("sh", ["-c", script], {
      env: { GREETING: "hello", PATH: process.env["PATH"] },
      cwd: "/",
      argv0: "renamed",
      stdio: ["ignore", "ignore", "pipe"],
    });
    started(spawned);
    let printed = "";
    spawned.process.stderr!.setEncoding("utf8").on("data", (text: string) => (printed += text));
    await once(spawned.process, "close");
    expect(printed).to.match(/^hello \/ renamed$/);
  });

  it("says what cannot be run, and leaves nothing behind", async () => {
    const missing = await refusal(transports.spawn("/no/such/program"), Status.NOT_FOUND);
    expect(missing.message).to.contain("/no/such/program");
    await refusal(transports.spawn("true", [], { cwd: "/no/such/directory" }), Status.NOT_FOUND);
    await refusal(transports.spawn("/etc/passwd"), Status.PERMISSION_DENIED);
    await refusal(transports.spawn(7 as unknown as string), Status.INVALID_ARGUMENT);
  });

  it("refuses options that it does not understand", async () => {
    const over = await refusal(
      transports.spawn("true", [], { over: "tcp:" as "pipe:" }),
      Status.INVALID_ARGUMENT,
    );
    expect(over.message).to.equal('option over must be "pipe:" or "stdio:", not "tcp:"');
    await refusal(transports.spawn("true", [], { stdio: 5 as unknown as "pipe" }), Status.INVALID_ARGUMENT);
    await refusal(
      transports.spawn("true", [], { signal: 5 as unknown as AbortSignal }),
      Status.INVALID_ARGUMENT,
    );
  });

  it("kills the child that is no longer wanted when it runs", async () => {
    const reason = new Error("changed my mind");
    const outcome: unknown = await transports
      .spawn("sleep", ["100"], { signal: AbortSignal.abort(reason) })
      .catch((error: unknown) => error);
    expect(outcome).to.equal(reason);
  });

  it("refuses to listen in a process that spawn did not start", async () => {
    const error = await refusal(
      transports.pipe.listen("pipe:", (connection) => connection.destroy(), {}),
      Status.FAILED_PRECONDITION,
    );
    expect(error.message).to.contain("spawn()");
    const child = spawnProcess(process.execPath, [program, name, "stdio", "refused"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    expect(line.toString()).to.contain("FAILED_PRECONDITION").and.to.contain("standard input");
  });

  it("refuses to connect, and says what to call", async () => {
    for (const transport of [transports.pipe, transports.stdio]) {
      const error = await refusal(transport.connect(`${transport.scheme}:`, {}), Status.INVALID_ARGUMENT);
      expect(error.message).to.contain(`spawn(command, args, { over: "${transport.scheme}:" })`);
      await refusal(transport.connect(`${transport.scheme}:x`, {}), Status.INVALID_ARGUMENT);
      await refusal(
        transport.listen(`${transport.scheme}:x`, () => {}, {}),
        Status.INVALID_ARGUMENT,
      );
    }
  });

  if (name === "native") {
    it("does not take a stranger's descriptors for the pipes", async () => {
      const { connection, process: child } = await transports.spawn(
        process.execPath,
        [program, name, "pipe", "orphan"],
        {
          stdio: ["ignore", "ignore", "pipe"],
        },
      );
      started({ connection, process: child });
      const [line] = (await once(child.stderr!, "data")) as [Buffer];
      expect(line.toString()).to.contain("FAILED_PRECONDITION").and.to.contain("is not the pipe");
    });
  }

  it("ends the connection to a child that is gone while its own child holds the pipes", async function () {
    this.timeout(20_000);
    // The shell leaves a sleeping process behind, which holds its standard output.
    const { connection, process: child } = await transports.spawn("sh", ["-c", "sleep 1000 & echo $! >&2"], {
      over: "stdio:",
      stdio: [undefined, undefined, "pipe"],
    });
    const endpoint = started({ connection, process: child });
    const [line] = (await once(child.stderr!, "data")) as [Buffer];
    try {
      const error = await endpoint.closed;
      expect(error).to.be.instanceOf(RpcError);
      expect((error as RpcError).codeName).to.equal("UNAVAILABLE");
      expect(error!.message).to.contain("exited with code 0");
    } finally {
      process.kill(Number(line.toString()), "SIGKILL");
    }
  });
});

/** Whether a process is there and no zombie. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
