/** @connectrpc/connect-node over HTTP/2 without TLS on a Unix socket, with protobuf-es and Connect's own protocol. */
import { once } from "node:events";
import { createServer, type ServerHttp2Session } from "node:http2";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { fileDesc, serviceDesc } from "@bufbuild/protobuf/codegenv2";
import { createClient, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { Implementation } from "../implementation.js";
import {
  asynchronous,
  handlers,
  callsOf,
  type Echo,
  type StreamSummary,
  type StreamRequest,
} from "./service.js";

const BASE_URL = "http://localhost";

/** In MB. Node's default, 10, refuses streams beside large messages under way. Larger windows gained nothing here. */
const HTTP2_OPTIONS = { maxSessionMemory: 1000 };

/** By default the server compresses every response of 1,024 bytes or more. */
const UNCOMPRESSED = { acceptCompression: [] };

/** Of echo.proto, as generated code has it. */
export const service = serviceDesc(
  fileDesc(
    "CgplY2hvLnByb3RvEgxzbHVpY2UuYmVuY2giFAoERWNobxIMCgRib2R5GAEgASgMIi0KDVN0cmVhbVJlcXVlc3QSDQoFY291" +
      "bnQYASABKA0SDQoFYnl0ZXMYAiABKA0iHgoNU3RyZWFtU3VtbWFyeRINCgVjb3VudBgBIAEoDTLkAgoFQmVuY2gSLwoFVW5h" +
      "cnkSEi5zbHVpY2UuYmVuY2guRWNobxoSLnNsdWljZS5iZW5jaC5FY2hvEkQKD1NlcnZlclN0cmVhbWluZxIbLnNsdWljZS5i" +
      "ZW5jaC5TdHJlYW1SZXF1ZXN0GhIuc2x1aWNlLmJlbmNoLkVjaG8wARJECg9DbGllbnRTdHJlYW1pbmcSEi5zbHVpY2UuYmVu" +
      "Y2guRWNobxobLnNsdWljZS5iZW5jaC5TdHJlYW1TdW1tYXJ5KAESOwoNQmlkaVN0cmVhbWluZxISLnNsdWljZS5iZW5jaC5F" +
      "Y2hvGhIuc2x1aWNlLmJlbmNoLkVjaG8oATABEi4KBEhvbGQSEi5zbHVpY2UuYmVuY2guRWNobxoSLnNsdWljZS5iZW5jaC5F" +
      "Y2hvEjEKB1JlbGVhc2USEi5zbHVpY2UuYmVuY2guRWNobxoSLnNsdWljZS5iZW5jaC5FY2hvYgZwcm90bzM",
  ),
  0,
);

/** What generated code would declare. */
interface Stub {
  unary(request: Echo): Promise<Echo>;
  hold(request: Echo): Promise<Echo>;
  release(request: Echo): Promise<Echo>;
  serverStreaming(request: StreamRequest, options: { readonly signal: AbortSignal }): AsyncIterable<Echo>;
  clientStreaming(messages: AsyncIterable<Echo>): Promise<StreamSummary>;
  bidiStreaming(messages: AsyncIterable<Echo>): AsyncIterable<Echo>;
}

export const connectNode: Implementation = {
  async serve(_transport, directory) {
    const path = join(directory, "connect.sock");
    const listener = connectNodeAdapter({
      ...UNCOMPRESSED,
      routes: (router) =>
        router.service(service, {
          ...handlers,
          serverStreaming: (request: StreamRequest) => asynchronous(handlers.serverStreaming(request)),
        } as unknown as ServiceImpl<typeof service>),
    });
    const server = createServer(HTTP2_OPTIONS, listener);
    const sessions = new Set<ServerHttp2Session>();
    server.on("session", (session) => {
      sessions.add(session);
      session.once("close", () => sessions.delete(session));
    });
    server.listen(path);
    await once(server, "listening");
    return {
      address: path,
      async close() {
        server.close();
        for (const session of sessions) session.close();
        await once(server, "close");
      },
    };
  },

  async connect(_transport, path) {
    const sessionManager = new Http2SessionManager(BASE_URL, undefined, {
      ...HTTP2_OPTIONS,
      createConnection: () => connectSocket(path),
    });
    const transport = createConnectTransport({
      ...UNCOMPRESSED,
      httpVersion: "2",
      baseUrl: BASE_URL,
      sessionManager,
    });
    const stub = createClient(service, transport) as unknown as Stub;
    return {
      ...callsOf({ ...stub, clientStreaming: (messages) => stub.clientStreaming(asynchronous(messages)) }),
      async close() {
        sessionManager.abort();
      },
    };
  },
};
