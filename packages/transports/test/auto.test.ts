/** What is peculiar to `auto:` beside the contract: which way is taken, and who is kept out of the open one. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect as netConnect, createServer, type AddressInfo, type Socket } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { expect } from "chai";
import { Status, type Connection, type Listener, type TransportOptions } from "@sluice/core";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { nodeTransports } from "@sluice/transports";
import { refusal } from "./refusal.js";
import { freshPath } from "./subjects.js";
import { variants, type Variant } from "./variants.js";

interface Offer {
  addresses: string[];
  secrets: { server: string; client: string };
}

describe("auto", () => {
  const runtime = process.env["XDG_RUNTIME_DIR"];
  let directory: string;
  let listeners: Listener[] = [];
  let endpoints: Endpoint[] = [];
  let accepted: Connection[] = [];
  let sockets: Socket[] = [];

  beforeEach(() => {
    const place = freshPath("");
    mkdirSync(place, { mode: 0o700 });
    process.env["XDG_RUNTIME_DIR"] = place;
    directory = join(place, "sluice");
  });

  afterEach(async () => {
    for (const endpoint of endpoints) endpoint.destroy();
    for (const socket of sockets) socket.destroy();
    await Promise.all(listeners.map((listener) => listener.close()));
    listeners = [];
    endpoints = [];
    accepted = [];
    sockets = [];
    rmSync(directory, { recursive: true, force: true });
    process.env["XDG_RUNTIME_DIR"] = runtime;
  });

  function keep(connection: Connection): Endpoint {
    const endpoint = new Endpoint(connection).start();
    endpoints.push(endpoint);
    return endpoint;
  }

  /** A server that sends every frame back. */
  async function listen(
    { transports: { auto } }: Variant,
    options: TransportOptions = {},
  ): Promise<Listener> {
    const accept = (connection: Connection): void => {
      accepted.push(connection);
      const endpoint = keep(connection);
      endpoint.consume = (memory, start, end) => void endpoint.send(memory.slice(start, end));
    };
    const listener = await auto.listen("auto:here", accept, options);
    listeners.push(listener);
    return listener;
  }

  async function connect(
    { transports: { auto } }: Variant,
    options: TransportOptions = {},
  ): Promise<Endpoint> {
    return keep(await auto.connect("auto:here", options));
  }

  async function echoes(variant: Variant, options?: TransportOptions): Promise<Endpoint> {
    const endpoint = await connect(variant, options);
    endpoint.send(makeFrame(0, 100));
    await endpoint.received(1);
    return endpoint;
  }

  const schemeOf = ({ connection }: Endpoint): string => connection.peer.address.split(":")[0]!;
  const offerPath = (): string => join(directory, "here.auto");
  const offer = (): Offer => JSON.parse(readFileSync(offerPath(), "utf8")) as Offer;

  /** Leaves nothing but TCP. */
  function removeSockets(): void {
    for (const name of ["here.shm", "here.sock"]) rmSync(join(directory, name), { force: true });
  }

  for (const server of variants) {
    for (const client of variants) {
      describe(`between a server (${server.name}) and a client (${client.name})`, () => {
        const both = server.name === "native" && client.name === "native";

        it(`takes ${both ? "shared memory" : "a Unix socket"}, and says so`, async () => {
          const { address } = await listen(server);
          expect(address).to.equal("auto:here");
          const near = await echoes(client);
          expect(schemeOf(near)).to.equal(both ? "shm" : "unix");
          expect(accepted[0]!.peer.address).to.equal(near.connection.peer.address);
        });

        it("takes TCP where nothing else can be had", async () => {
          await listen(server);
          removeSockets();
          const near = await echoes(client);
          expect(near.connection.peer.address).to.match(/^tcp:\/\/127\.0\.0\.1:\d+$/);
          expect(near.connection.peer.remoteAddress).to.equal("127.0.0.1");
          expect(accepted[0]!.peer.address).to.equal(near.connection.peer.address);
          expect(near.frames).to.deep.equal([makeFrame(0, 100)]);
        });
      });
    }
  }

  for (const variant of variants) {
    describe(variant.name, () => {
      it("keeps its files to this user, and removes them", async () => {
        await listen(variant);
        expect(statSync(directory).mode & 0o777).to.equal(0o700);
        expect(statSync(offerPath()).mode & 0o777).to.equal(0o600);
        await listeners[0]!.close();
        expect(readdirSync(directory)).to.deep.equal([]);
      });

      it("says that nobody is there, or was left there by a dead server", async () => {
        const never = await refusal(connect(variant), Status.UNAVAILABLE);
        expect(never.message).to.contain("auto:here").and.to.contain("nobody has listened at a name yet");
        await listen(variant);
        const left = readFileSync(offerPath());
        await listeners[0]!.close();
        const gone = await refusal(connect(variant), Status.UNAVAILABLE);
        expect(gone.message).to.contain(`nobody listens there (there is no ${offerPath()})`);
        writeFileSync(offerPath(), left);
        const dead = await refusal(connect(variant), Status.UNAVAILABLE);
        expect(dead.message)
          .to.match(/cannot connect to auto:here: /)
          .and.to.match(/cannot connect to unix:.*; cannot connect to tcp:.*nobody listens there/);
        await listen(variant);
        await echoes(variant);
      });

      it("says that the file is not one of its own", async () => {
        mkdirSync(directory, { mode: 0o700 });
        for (const make of [
          () => writeFileSync(offerPath(), ""),
          () => writeFileSync(offerPath(), "{}"),
          () => writeFileSync(offerPath(), '{"addresses":[7],"secrets":{}}'),
          () => writeFileSync(offerPath(), `{"addresses":["unix:/x"],"secrets":{"server":"1","client":"2"}}`),
          () => writeFileSync(offerPath(), Buffer.alloc(5000, 0x20)),
          () => mkdirSync(offerPath()),
          () => execFileSync("mkfifo", [offerPath()]),
        ]) {
          make();
          const error = await refusal(connect(variant), Status.UNAVAILABLE);
          expect(error.message)
            .to.contain(offerPath())
            .and.to.contain("remove it, and start the server again");
          rmSync(offerPath(), { recursive: true });
        }
        symlinkSync("/etc/hostname", offerPath());
        expect((await refusal(connect(variant), Status.INVALID_ARGUMENT)).message).to.contain(
          "symbolic link",
        );
      });

      it("is refused in a directory that others can enter", async () => {
        mkdirSync(directory);
        chmodSync(directory, 0o755);
        for (const attempt of [listen(variant), connect(variant)]) {
          expect((await refusal(attempt, Status.PERMISSION_DENIED)).message).to.contain("mode 0755");
        }
      });

      it("passes options on, and what is wrong with them", async () => {
        for (const attempt of [listen(variant, { allowPeer: 7 }), connect(variant, { allowPeer: 7 })]) {
          await refusal(attempt, Status.INVALID_ARGUMENT);
        }
      });

      it("leaves nothing when one way cannot be listened at", async () => {
        if (variant.name === "node")
          mkdirSync(`${directory}/here.auto.new`, { recursive: true, mode: 0o700 });
        else mkdirSync(`${directory}/here.shm`, { recursive: true, mode: 0o700 });
        chmodSync(directory, 0o700);
        const before = readdirSync(directory);
        const error = await listen(variant).catch((reason: Error) => reason);
        expect(error).to.be.an("error").with.property("message").that.contains("cannot listen at auto:here");
        expect(readdirSync(directory)).to.deep.equal(before);
      });

      describe("by TCP", () => {
        const port = (): number => Number(/^tcp:.*:(\d+)$/.exec(offer().addresses.at(-1)!)![1]);

        /** Talks to the server as nobody who has read the file. */
        async function stranger(...frames: Uint8Array[]): Promise<Socket> {
          const socket = netConnect(port(), "127.0.0.1").on("error", () => {});
          sockets.push(socket);
          await once(socket, "connect");
          for (const frame of frames) socket.write(frame);
          return socket;
        }

        it("takes nothing from who has not proved to have read the file", async () => {
          await listen(variant);
          for (const frames of [
            [makeFrame(0, 100), makeFrame(1, 100)],
            [makeFrame(0, 44)],
            [Buffer.alloc(100, 0xff)],
          ]) {
            const socket = (await stranger(...frames)).resume();
            await once(socket, "close");
          }
          expect(endpoints.map(({ frameCount }) => frameCount)).to.deep.equal([0, 0, 0]);
          for (const { closed } of endpoints) expect((await closed)?.message).to.contain("has not proved");
        });

        it("trusts no server that has only taken the port", async () => {
          const squatter = createServer((socket) => {
            sockets.push(socket.on("error", () => {}));
            socket.write(makeFrame(0, 44));
          });
          squatter.listen(0, "127.0.0.1");
          await once(squatter, "listening");
          await listen(variant);
          const { port: taken } = squatter.address() as AddressInfo;
          writeFileSync(offerPath(), JSON.stringify({ ...offer(), addresses: [`tcp://127.0.0.1:${taken}`] }));
          const near = await connect(variant);
          expect((await near.closed)?.message).to.contain("has not proved");
          expect(near.frameCount).to.equal(0);
          squatter.close();
        });
      });
    });
  }

  const native = variants.find(({ name }) => name === "native");
  (native ? describe : describe.skip)("with the addon", () => {
    it("does not try by another way what was refused by one", async () => {
      await listen(native!);
      const error = await refusal(connect(native!, { allowPeer: () => false }), Status.PERMISSION_DENIED);
      expect(error.message).to.contain("allowPeer refused");
      expect(accepted).to.have.lengthOf.at.most(1);
    });

    it("leaves TCP out where a function judges the peers", async () => {
      const allowPeer = (): boolean => true;
      await listen(native!, { allowPeer });
      expect(offer().addresses.map((address) => address.split(":")[0])).to.deep.equal(["shm", "unix"]);
      await echoes(native!, { allowPeer });
      await listeners[0]!.close();
      await listen(native!);
      removeSockets();
      const error = await refusal(connect(native!, { allowPeer }), Status.UNAVAILABLE);
      expect(error.message).to.contain("tcp: is not to be had here");
    });

    it("removes its files when the process exits by itself", () => {
      const code = `
        import { auto } from ${JSON.stringify(import.meta.resolve("@sluice/transports"))};
        await auto.listen("auto:here", () => {}, {});
        process.exit();`;
      execFileSync(process.execPath, ["--input-type=module", "--eval", code]);
      expect(readdirSync(directory)).to.deep.equal([]);
    });

    it("has no offer any more when the process gives its name up at the end, which may be another's from then on", () => {
      const code = `
        import { auto } from ${JSON.stringify(import.meta.resolve("@sluice/transports"))};
        import { existsSync } from "node:fs";
        await auto.listen("auto:here", () => {}, {});
        const stem = ${JSON.stringify(join(directory, "here"))};
        const look = () => console.log(existsSync(stem + ".auto") ? "offer" : "-", existsSync(stem + ".sock") ? "name" : "-");
        const listeners = process.rawListeners("exit");
        process.removeAllListeners("exit");
        for (const listener of listeners) process.on("exit", listener).on("exit", look);
        process.exit();`;
      const output = execFileSync(process.execPath, ["--input-type=module", "--eval", code]);
      const seen = String(output).trim().split("\n");
      expect(seen).to.include("- name").and.to.not.include("offer -");
      expect(seen.at(-1)).to.equal("- -");
    });
  });

  it("does not mind a server that has another form of the transports", async () => {
    await listen({ name: "node", transports: nodeTransports });
    expect(offer().addresses.map((address) => address.split(":")[0])).to.deep.equal(["unix", "tcp"]);
    expect(existsSync(join(directory, "here.shm"))).to.equal(false);
  });
});
