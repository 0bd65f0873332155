/** What is peculiar to `tls:` beside the contract: who is let in, who is refused, and what both are told. */
import { once } from "node:events";
import {
  connect as netConnect,
  createServer as createNetServer,
  type AddressInfo,
  type Server,
  type Socket,
} from "node:net";
import {
  connect as tlsConnect,
  createServer as createTlsServer,
  type ConnectionOptions,
  type PeerCertificate,
  type TlsOptions,
} from "node:tls";
import { expect } from "chai";
import { Status, type Connection, type Listener, type TransportOptions } from "@sluice/core";
import { Endpoint, makeFrame } from "@sluice/transport-contract";
import { tcp, tls } from "@sluice/transports";
import { certificate, type Identity } from "./certificates.js";
import { outward } from "./echo-site.js";
import { refusal } from "./refusal.js";

const LOCAL = { names: ["localhost", "127.0.0.1"] };

describe("tls", () => {
  let authority: Identity;
  let stranger: Identity;
  let server: Identity;
  let client: Identity;
  /** What an honest client trusts. */
  let trust: TransportOptions;

  let listeners: Listener[] = [];
  let endpoints: Endpoint[] = [];
  /** Those of them that are the server's. */
  let accepted: Connection[] = [];
  let servers: Server[] = [];
  let sockets: Socket[] = [];

  before(async () => {
    authority = await certificate("Test authority", { isCa: true });
    stranger = await certificate("Another authority", { isCa: true });
    server = await certificate("server", { ca: authority, ...LOCAL });
    client = await certificate("client", { ca: authority });
    trust = { ca: authority.cert };
  });

  afterEach(async () => {
    for (const endpoint of endpoints) endpoint.destroy();
    for (const socket of sockets) socket.destroy();
    await Promise.all(listeners.map((listener) => listener.close()));
    await Promise.all(servers.map((one) => new Promise((resolve) => one.close(resolve))));
    listeners = [];
    endpoints = [];
    accepted = [];
    servers = [];
    sockets = [];
  });

  function keep(connection: Connection): Endpoint {
    const endpoint = new Endpoint(connection).start();
    endpoints.push(endpoint);
    return endpoint;
  }

  /** A server that sends every frame back; resolves to its port. */
  async function listen(options: TransportOptions = server, host = "127.0.0.1"): Promise<number> {
    const accept = (connection: Connection): void => {
      accepted.push(connection);
      const endpoint = keep(connection);
      endpoint.consume = (memory, start, end) => void endpoint.send(memory.slice(start, end));
    };
    const listener = await tls.listen(`tls://${host}:0`, accept, options);
    listeners.push(listener);
    return Number(listener.address.split(":").at(-1));
  }

  async function connect(port: number, options = trust, host = "127.0.0.1"): Promise<Endpoint> {
    return keep(await tls.connect(`tls://${host}:${port}`, options));
  }

  async function echoes(port: number, options = trust, host = "127.0.0.1"): Promise<Endpoint> {
    const endpoint = await connect(port, options, host);
    endpoint.send(makeFrame(0, 100));
    await endpoint.received(1);
    return endpoint;
  }

  async function port(of: Server): Promise<number> {
    servers.push(of.listen(0, "127.0.0.1"));
    await once(of, "listening");
    return (of.address() as AddressInfo).port;
  }

  /** A server that is not Sluice's. */
  const foreignServer = (options: TlsOptions): Promise<number> =>
    port(
      createTlsServer({ ...server, ...options }, (socket) => {
        sockets.push(socket.on("error", () => {}));
      }),
    );

  /** A client that is not Sluice's; resolves when its connection is over, to the code of its error if there was one. */
  async function foreignClient(to: number, options: ConnectionOptions): Promise<string | undefined> {
    const socket = tlsConnect({ port: to, host: "127.0.0.1", ca: authority.cert, ...options });
    sockets.push(socket);
    let code: string | undefined;
    socket.on("error", (error: NodeJS.ErrnoException) => (code = error.code));
    socket.resume();
    await new Promise((resolve) => socket.once("close", resolve));
    return code;
  }

  const subjectOf = (connection: Connection): unknown =>
    (connection.peer.certificate as PeerCertificate | undefined)?.subject.CN;

  it("shows the server's certificate to the client, and asks for none of it", async () => {
    const { connection } = await echoes(await listen());
    expect(subjectOf(connection)).to.equal("server");
    expect(connection.peer.remoteAddress).to.equal("127.0.0.1");
    expect(accepted[0]!.peer).to.have.all.keys("address", "remoteAddress", "remotePort");
  });

  it("shows the client's certificate to a server that requests it", async () => {
    await echoes(await listen({ ...server, requestCert: true, ca: authority.cert }), { ...trust, ...client });
    expect(subjectOf(accepted[0]!)).to.equal("client");
  });

  it("takes the authorities, and the certificates of a chain, as strings, Buffers and arrays", async () => {
    const between = await certificate("Between", { ca: authority, isCa: true });
    const { cert, key } = await certificate("server", { ca: between, ...LOCAL });
    const at = await listen({ cert: Buffer.from(cert + between.cert), key: Buffer.from(key) });
    await echoes(at, { ca: [stranger.cert, Buffer.from(authority.cert)] });
  });

  it("checks the name of the host, or of the option servername", async () => {
    const at = await listen();
    await echoes(at, trust, "localhost");
    await echoes(at, { ...trust, servername: "localhost" });
    const error = await refusal(
      connect(at, { ...trust, servername: "example.org" }),
      Status.PERMISSION_DENIED,
    );
    expect(error.message)
      .to.contain(`tls://127.0.0.1:${at}`)
      .and.to.contain("the server's certificate of CN=server (issued by CN=Test authority, valid from ")
      .and.to.contain("for DNS:localhost, IP Address:127.0.0.1) is not for example.org");
  });

  it("may listen beyond this host, and keeps alive what may be there", async function () {
    const at = await listen(server, "0.0.0.0");
    expect((await echoes(at)).connection.traits.peerDeath).to.equal("carrier");
    if (outward === undefined) this.skip();
    const options = { ...trust, servername: "localhost" };
    expect((await echoes(at, options, outward)).connection.traits.peerDeath).to.equal("keepalive");
  });

  describe("refuses a server whose certificate", () => {
    const cases: readonly [what: string, make: () => Promise<Identity>, says: RegExp][] = [
      [
        "has expired",
        () => certificate("old", { ca: authority, from: -2, ...LOCAL }),
        /certificate of CN=old .* has expired \(CERT_HAS_EXPIRED\)/,
      ],
      [
        "is not valid yet",
        () => certificate("early", { ca: authority, from: 2, ...LOCAL }),
        /certificate of CN=early .* is not valid yet/,
      ],
      [
        "is for another host",
        () => certificate("elsewhere", { ca: authority, names: ["example.org"] }),
        /certificate of CN=elsewhere .* for DNS:example.org\) is not for 127.0.0.1/,
      ],
      ["is self-signed", () => certificate("lonely", LOCAL), /certificate of CN=lonely .* is self-signed/],
      [
        "comes from an authority that is not trusted",
        () => certificate("foreign", { ca: stranger, ...LOCAL }),
        /CN=foreign \(issued by CN=Another authority, .* was not issued by a certificate authority that is trusted/,
      ],
    ];
    for (const [what, make, says] of cases) {
      it(what, async () => {
        const error = await refusal(connect(await listen(await make())), Status.PERMISSION_DENIED);
        expect(error.message).to.match(says);
        expect(error.message).to.contain("cannot connect to tls://127.0.0.1:");
      });
    }

    it("comes from an authority that has expired, and names that", async () => {
      const old = await certificate("Old authority", { isCa: true, from: -2 });
      const at = await listen(await certificate("server", { ca: old, ...LOCAL }));
      const error = await refusal(connect(at, { ca: old.cert }), Status.PERMISSION_DENIED);
      expect(error.message).to.match(/certificate of CN=Old authority .* has expired/);
    });

    it("is not of an authority that Node comes with, where none are given", async () => {
      await refusal(connect(await listen(), {}), Status.PERMISSION_DENIED);
    });
  });

  describe("refuses a client", () => {
    let at: number;
    beforeEach(async () => (at = await listen({ ...server, requestCert: true, ca: authority.cert })));
    afterEach(() => void expect(accepted).to.deep.equal([]));

    /** Why a connection ends that nothing is sent over. */
    async function ended(options: TransportOptions): Promise<string | undefined> {
      const { closed } = await connect(at, { ...trust, ...options });
      return (await closed)?.message;
    }

    it("without a certificate", async () => {
      expect(await ended({})).to.contain("it requires a client certificate: give the options cert and key");
    });

    it("whose certificate is self-signed, of a stranger, or has expired", async () => {
      const refused = [
        await certificate("client"),
        await certificate("client", { ca: stranger }),
        await certificate("client", { ca: authority, from: -2 }),
      ];
      for (const one of refused) {
        expect(await ended(one)).to.contain("it may not trust this client's certificate");
      }
    });
  });

  describe("agrees on TLS 1.3 and sluice/1", () => {
    it("or refuses the server", async () => {
      const protocol = { ALPNProtocols: ["sluice/1"] };
      for (const [options, says] of [
        [{ ALPNProtocols: ["h2"] }, "does not speak sluice/1 (ALPN)"],
        [{}, "does not speak sluice/1 (ALPN)"],
        [{ ...protocol, maxVersion: "TLSv1.2" }, "does not speak TLS 1.3"],
      ] as [TlsOptions, string][]) {
        const error = await refusal(connect(await foreignServer(options)), Status.UNAVAILABLE);
        expect(error.message).to.contain(says);
      }
      await connect(await foreignServer(protocol));
    });

    it("or refuses the client", async () => {
      const at = await listen();
      expect(await foreignClient(at, { ALPNProtocols: ["h2"] })).to.match(/NO_APPLICATION_PROTOCOL/);
      expect(await foreignClient(at, { ALPNProtocols: ["sluice/1"], maxVersion: "TLSv1.2" })).to.match(
        /PROTOCOL_VERSION/,
      );
      await foreignClient(at, {});
      expect(accepted).to.deep.equal([]);
      await echoes(at);
    });

    it("and says so where there is no TLS at all", async () => {
      const listener = await tcp.listen(
        "tcp://127.0.0.1:0",
        (plain) => keep(plain).send(makeFrame(0, 100)),
        {},
      );
      listeners.push(listener);
      const plain = Number(listener.address.split(":").at(-1));
      const error = await refusal(connect(plain), Status.UNAVAILABLE);
      expect(error.message).to.contain("does not speak TLS (is it a server of tcp: ?)");

      const { closed, ...endpoint } = keep(await tcp.connect(`tcp://127.0.0.1:${await listen()}`, {}));
      void endpoint.connection.reserve(100);
      endpoint.connection.commit(100);
      await closed;
    });

    it("or says that the server went away meanwhile", async () => {
      const at = await port(createNetServer((socket) => socket.once("data", () => socket.destroy())));
      const error = await refusal(connect(at), Status.UNAVAILABLE);
      expect(error.message).to.contain("ended the connection during the TLS handshake");
    });
  });

  it("gives up a handshake when its signal is aborted", async () => {
    const controller = new AbortController();
    const reason = new Error("changed my mind");
    const at = await port(
      createNetServer((socket) => {
        sockets.push(socket.on("error", () => {}));
        socket.once("data", () => controller.abort(reason));
      }),
    );
    const outcome = await connect(at, { ...trust, signal: controller.signal }).catch(
      (error: unknown) => error,
    );
    expect(outcome).to.equal(reason);
  });

  describe("cuts off clients that are at their handshakes", () => {
    async function silent(to: number): Promise<{ closed: Promise<unknown> }> {
      const socket = netConnect(to, "127.0.0.1").on("error", () => {});
      sockets.push(socket.resume());
      const closed = once(socket, "close");
      await once(socket, "connect");
      return { closed };
    }

    it("for longer than they may be", async () => {
      const at = await listen({ ...server, handshakeTimeout: 50 });
      const { closed } = await silent(at);
      await closed;
      await echoes(at);
    });

    it("when there are more than there may be, the oldest first", async () => {
      const at = await listen();
      const first = await silent(at);
      const others = [];
      for (let i = 0; i < 1024; i++) others.push(await silent(at));
      await first.closed;
      await echoes(at);
      await Promise.race([others[0]!.closed, others.at(-1)!.closed.then(() => expect.fail("the youngest"))]);
    });

    it("when it stops listening", async () => {
      const at = await listen();
      const { closed } = await silent(at);
      const near = await echoes(at);
      await listeners[0]!.close();
      await closed;
      near.send(makeFrame(1, 100));
      await near.received(2);
    });
  });

  it("says what is wrong with its options", async () => {
    const at = "tls://127.0.0.1:0";
    const listening = (options: object): Promise<unknown> =>
      tls.listen(at, () => {}, options as TransportOptions);
    const connecting = (options: object): Promise<unknown> =>
      tls.connect("tls://127.0.0.1:9", options as TransportOptions);
    for (const [attempt, says] of [
      [listening({}), "without a certificate: give the options cert and key"],
      [listening({ ...server, requestCert: true }), "option requestCert needs option ca"],
      [listening({ ...server, requestCert: "yes" }), 'option requestCert must be true or false, not "yes"'],
      [listening({ ...server, handshakeTimeout: 0 }), "option handshakeTimeout must be an integer from 1"],
      [listening({ cert: server.cert }), "option cert was given without option key"],
      [listening({ key: server.key }), "option key was given without option cert"],
      [
        listening({ cert: server.cert, key: client.key }),
        "options cert and key are no certificate and its private key",
      ],
      [listening({ cert: "none", key: server.key }), "option cert is no certificate in PEM"],
      [connecting({ ca: "none" }), "option ca is no certificate in PEM"],
      [connecting({ ca: 7 }), "option ca must be PEM"],
      [connecting({ ca: [] }), "option ca must be PEM"],
      [connecting({ servername: "" }), 'option servername must be the name of a host, not ""'],
    ] as const) {
      expect((await refusal(attempt, Status.INVALID_ARGUMENT)).message).to.contain(says);
    }
  });

  it("says that nobody listens, and that the port is in use", async () => {
    const at = await listen();
    const used = tls.listen(`tls://127.0.0.1:${at}`, () => {}, { ...server });
    expect((await refusal(used, Status.ALREADY_EXISTS)).message).to.contain("EADDRINUSE");
    await listeners[0]!.close();
    expect((await refusal(connect(at), Status.UNAVAILABLE)).message).to.contain("nobody listens there");
  });
});
