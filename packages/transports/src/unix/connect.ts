import { RpcError, Status, type Connection, type TransportOptions } from "@sluice/core";
import { errorCode, systemError } from "../errors.js";
import { signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { parseUnixAddress } from "./address.js";
import { unixConnection } from "./connection.js";
import { requireFeasible } from "./mode.js";
import { allowPeerOption, refusal, socketPeer } from "./peer.js";

export async function connect(
  platform: Platform,
  address: string,
  options: TransportOptions,
): Promise<Connection> {
  const target = parseUnixAddress(address);
  const allow = allowPeerOption(options);
  const signal = signalOption(options);
  signal?.throwIfAborted();
  await requireFeasible(platform, target, allow, "connect to", address);
  let socket;
  try {
    socket = await platform.sockets.connect({ path: target.path }, signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (errorCode(error) === "ENOENT") {
      throw new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: no socket is there (ENOENT)`, {
        cause: error,
      });
    }
    throw systemError(error, "connect to", address);
  }
  const peer = socketPeer(socket, address);
  let refused;
  try {
    refused = refusal(peer, allow);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  if (refused !== undefined) {
    socket.destroy();
    throw refused;
  }
  return unixConnection(socket, peer);
}
