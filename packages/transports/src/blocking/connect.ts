/** Connecting without the event loop, for synchronous clients. */
import { isIP } from "node:net";
import type { BlockingConnection, Peer, TransportOptions } from "@sluice/core";
import type { Native } from "@sluice/native";
import { invalidAddress } from "../address.js";
import { systemError } from "../errors.js";
import { invalidOption, pollOption } from "../options.js";
import { parseNothing } from "../pipe/connect.js";
import { TRAITS as PIPE_TRAITS } from "../pipe/connection.js";
import { takePipes } from "../pipe/environment.js";
import { receiveSegmentSync } from "../ring/handshake.js";
import { parseTcpAddress } from "../tcp/address.js";
import { traitsOf } from "../tcp/connection.js";
import { parseUnixAddress, type UnixAddress } from "../unix/address.js";
import { connectError } from "../unix/connect.js";
import { TRAITS as UNIX_TRAITS } from "../unix/connection.js";
import { allowPeerOption, refusal } from "../unix/peer.js";
import { BlockingRingConnection, BlockingStreamConnection } from "./connection.js";
import { connectUntil } from "./wait.js";

/** Connects to a Unix socket whose peer is allowed, until `deadline` (of `performance.now()`). */
function connectSocket(
  native: Native,
  address: string,
  target: UnixAddress,
  options: TransportOptions,
  deadline: number,
): { readonly fd: number; readonly peer: Peer } {
  const allow = allowPeerOption(options);
  let fd: number;
  try {
    fd = connectUntil(native, { path: target.path }, deadline);
  } catch (error) {
    throw connectError(error, address, target);
  }
  try {
    const peer: Peer = { address, ...native.peerCredentials(fd) };
    const refused = refusal(peer, allow);
    if (refused !== undefined) throw refused;
    return { fd, peer };
  } catch (error) {
    native.closeFd(fd);
    throw error;
  }
}

export function connectUnixSync(
  native: Native,
  address: string,
  options: TransportOptions,
  timeoutMs: number,
): BlockingConnection {
  const pollUs = pollOption(options);
  const deadline = performance.now() + timeoutMs;
  const { fd, peer } = connectSocket(native, address, parseUnixAddress(address), options, deadline);
  return new BlockingStreamConnection(native, fd, fd, pollUs, true, UNIX_TRAITS, peer);
}

export function connectTcpSync(
  native: Native,
  address: string,
  options: TransportOptions,
  timeoutMs: number,
): BlockingConnection {
  const pollUs = pollOption(options);
  const { host, port } = parseTcpAddress(address);
  if (port === 0) throw invalidAddress(address, "port 0 can only be listened at");
  const deadline = performance.now() + timeoutMs;
  let failure: unknown;
  try {
    for (const ip of isIP(host) === 0 ? native.blocking.resolve(host) : [host]) {
      try {
        const fd = connectUntil(native, { address: ip, port }, deadline);
        const peer: Peer = { address, remoteAddress: ip, remotePort: port };
        const traits = traitsOf(ip);
        return new BlockingStreamConnection(native, fd, fd, pollUs, true, traits, peer);
      } catch (error) {
        failure = error;
      }
    }
  } catch (error) {
    failure = error;
  }
  throw systemError(failure, "connect to", address);
}

/** The child's end of the pipes from its parent, which serves it. */
export function connectPipeSync(
  native: Native,
  address: string,
  options: TransportOptions,
): BlockingConnection {
  const pollUs = pollOption(options);
  parseNothing(address, "pipe");
  const { readFd, writeFd } = takePipes("connect to");
  return new BlockingStreamConnection(native, readFd, writeFd, pollUs, false, PIPE_TRAITS, { address });
}

export function connectRingSync(
  native: Native,
  address: string,
  target: UnixAddress,
  options: TransportOptions,
  timeoutMs: number,
): BlockingConnection {
  const pollUs = pollOption(options);
  const onSemaphore = waitOption(options) === "semaphore";
  const deadline = performance.now() + timeoutMs;
  const { fd, peer } = connectSocket(native, address, target, options, deadline);
  const { rings } = receiveSegmentSync(native, fd, address, Math.max(0, deadline - performance.now()));
  return new BlockingRingConnection(native, rings, fd, onSemaphore, pollUs, peer);
}

function waitOption(options: TransportOptions): "semaphore" | "socket" {
  const value = options["wait"];
  if (value === undefined || value === "socket") return "socket";
  if (value === "semaphore") return value;
  throw invalidOption("wait", value, '"semaphore" or "socket"');
}
